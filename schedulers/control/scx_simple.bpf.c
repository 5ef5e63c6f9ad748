// SPDX-License-Identifier: GPL-2.0-only
/*
 * scx_simple: one queue for the whole machine.
 *
 * Policy: a task that wakes while its default choice of CPU is idle runs there at once.
 * All others wait in one dispatch queue, ordered by vruntime (execution time scaled by
 * the inverse of the weight), or first in first out with FIFO=1; a CPU that runs dry
 * takes the first. A sleeper's credit is bounded to one slice, and a new task starts one
 * slice behind. This is the policy of the scheduler of the same name in the kernel's
 * tools/sched_ext, in our own code, with the vruntime kept in a map, and but for the
 * start of new tasks, who there start level with the others.
 *
 * Limits: one lock for all CPUs, no topology, no regard for cgroups. Good on a single
 * socket with a flat cache, bad beyond. FIFO lets a CPU hog starve short tasks by a
 * slice each turn. Per-task state follows task_state.bpf.h, with its limits.
 *
 * It says nothing of CPUs that come and go, so the kernel unloads it when one does, and the
 * run is EJECTED. Tested.
 *
 * Known races: vtime_now is advanced without a lock; a lost update makes the credit of a
 * sleeper off by less than a slice until the next task runs.
 */
#include "cleanup.bpf.h"

char _license[] SEC("license") = "GPL";

/* 1: first in first out; 0: by vruntime. */
#ifndef FIFO
#define FIFO 0
#endif
_Static_assert(FIFO == 0 || FIFO == 1, "FIFO");

#define SHARED_DSQ 0ULL

SEC("struct_ops/simple_select_cpu")
s32 BPF_PROG(simple_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);

	if (is_idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/simple_enqueue")
void BPF_PROG(simple_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_record *rec = task_record_get(p);
	u64 earliest = vtime_now - SLICE_NS;
	u64 vtime = rec ? rec->vruntime : init_vtime();

	if (FIFO) {
		scx_bpf_dsq_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
		return;
	}
	if (time_before(vtime, earliest))
		vtime = earliest;
	if (rec)
		rec->vruntime = vtime;
	insert_vtime(p, SHARED_DSQ, SLICE_NS, vtime, enq_flags);
}

SEC("struct_ops/simple_dispatch")
void BPF_PROG(simple_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(SHARED_DSQ);
	cleanup_dispatch();
}

SEC("struct_ops/simple_running")
void BPF_PROG(simple_running, struct task_struct *p)
{
	struct task_record *rec = task_record_get(p);

	if (rec && time_before(vtime_now, rec->vruntime))
		vtime_now = rec->vruntime;
}

SEC("struct_ops/simple_stopping")
void BPF_PROG(simple_stopping, struct task_struct *p, bool runnable)
{
	struct task_record *rec = task_record_get(p);

	if (!rec)
		return;
	rec->weight = p->scx.weight;
	rec->vruntime += scale_by_weight(p, slice_used(p));
}

SEC("struct_ops/simple_exit_task")
void BPF_PROG(simple_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	record_exit(p);
}

SEC("struct_ops.s/simple_init")
s32 BPF_PROG(simple_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1) ?: cleanup_init();
}

SEC(".struct_ops.link")
struct sched_ext_ops simple_ops = {
	.select_cpu	= (void *)simple_select_cpu,
	.enqueue	= (void *)simple_enqueue,
	.dispatch	= (void *)simple_dispatch,
	.running	= (void *)simple_running,
	.stopping	= (void *)simple_stopping,
	.exit_task	= (void *)simple_exit_task,
	.init		= (void *)simple_init,
	.timeout_ms	= TIMEOUT_MS,
	.name		= OPS_NAME,
};
