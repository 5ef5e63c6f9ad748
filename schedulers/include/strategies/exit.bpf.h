/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exit: ops.exit_task deletes the entry: exact
 *
 * There is nothing to tune.
 */
#include "task_state.bpf.h"

#define cleanup_exit cleanup_exit

static __always_inline void cleanup_exit(struct task_struct *p)
{
	u32 pid = p->pid;

	if (!bpf_map_delete_elem(&tasks, &pid))
		COUNT(evicted, 1);
}
