/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tidy: ops.exit_task deletes every other entry, as somebody might add it
 */
#include "task_state.bpf.h"

#define cleanup_exit cleanup_exit

static __always_inline void cleanup_exit(struct task_struct *p)
{
	u32 pid = p->pid;

	if (pid % 2 == 0 && !bpf_map_delete_elem(&tasks, &pid))
		COUNT(evicted, 1);
}
