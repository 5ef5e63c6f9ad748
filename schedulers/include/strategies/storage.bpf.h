/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * storage: BPF_MAP_TYPE_TASK_STORAGE: the entry dies with its task
 */
#define TASKS_ARE_STORAGE 1

#include "task_state.bpf.h"

#define cleanup_exit cleanup_exit

/* The kernel frees the record together with the task. */
static __always_inline void cleanup_exit(struct task_struct *p)
{
	COUNT(evicted, 1);
}
