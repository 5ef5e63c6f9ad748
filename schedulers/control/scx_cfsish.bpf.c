// SPDX-License-Identifier: GPL-2.0-only
/*
 * scx_cfsish: a queue for each CPU, ordered by weighted vruntime, with work stealing.
 *
 * Policy: what the kernel's fair class did before it had deadlines, in small. A task
 * that wakes while an idle CPU suits it runs there at once; all others wait in the queue
 * of the CPU they are on, ordered by vruntime (execution time scaled by the inverse of
 * the weight). Each queue has a clock, the vruntime that it has reached, which never
 * goes back: its min_vruntime. Tasks are kept near it: a sleeper's credit is bounded to
 * one slice, a new task starts one slice behind, and debt is bounded so that nobody waits
 * much longer than MAX_DEBT_NS for neutral competitors. A task that wakes on another CPU
 * takes its distance to the clock along. A CPU that runs dry takes the first task that
 * it may run from the other queues, nearest CPU number first; a task that has to wait
 * while some CPU idles wakes that CPU up, to steal it. A task whose slice is over may go
 * on, MAX_SLICES times at the most, while it still comes before all who wait.
 *
 * Limits: load is balanced by stealing alone, so fairness holds on each CPU and not
 * between them: three tasks on two CPUs that are never idle share 1:1:2. No preemption
 * by those who wake, no topology, no regard for cgroups. Progress comes before weights:
 * one task against another gets 5:1 at the most (MAX_SLICES; 1:1 on kernels that cannot
 * show the first task of a queue, before 6.19), and debt is forgiven beyond MAX_DEBT_NS;
 * but a crowd of heavy tasks keeps light ones waiting for seconds. Per-task state follows
 * task_state.bpf.h, with its limits. It behaves badly with many CPUs and few tasks (each that
 * runs dry looks into all queues), and where CPU-bound tasks sit unevenly on busy CPUs.
 *
 * A CPU that goes offline leaves nobody behind in its queue: the kernel takes those off who
 * wait there, gives other CPUs to those that were bound to it, and queues nobody there
 * afterwards. Tested, with tasks that never sleep.
 *
 * Known races: clocks and vruntimes are read by other CPUs without a lock, when a task
 * wakes elsewhere; it is then placed wrongly by what the clock moved meanwhile. A stolen
 * task brings the vruntime of another queue: if ahead, the thief's clock follows it, if
 * behind, it gets a slice of credit. A CPU that goes idle at the moment when a task is
 * queued elsewhere is not woken for it; that task waits for its own CPU.
 */
#include "vtime.bpf.h"

char _license[] SEC("license") = "GPL";



/* The queue of a CPU is the dispatch queue of the CPU's number. */
struct queue {
	u64 clock;
	u32 slices;		/* that the CPU's task has had in a row */
} __attribute__((aligned(64)));

struct queue queues[MAX_CPUS];
u32 nr_cpus;

/* Init has checked the number of CPUs; the mask is for the verifier. */
static __always_inline struct queue *queue_of(s32 cpu)
{
	return &queues[cpu & (MAX_CPUS - 1)];
}

static __always_inline void charge(struct task_struct *p, struct task_record *rec, s32 cpu,
				   u64 used_ns)
{
	struct queue *q = queue_of(cpu);

	q->clock += used_ns / (MAX_CLOCK_SLOWDOWN * nr_competing(cpu));
	charge_task(p, rec, q->clock, used_ns);
}

SEC("struct_ops/cfsish_select_cpu")
s32 BPF_PROG(cfsish_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
	struct task_record *rec = record_find(p);
	struct queue *from = queue_of(prev_cpu), *to = queue_of(cpu);

	if (rec && from != to && !is_new(rec)) {
		clamp_vtime(rec, from->clock, MAX_DEBT_NS);
		rec->vruntime += to->clock - from->clock;
	}
	if (is_idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/cfsish_enqueue")
void BPF_PROG(cfsish_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct task_record *rec = task_record_get(p);
	struct queue *q = queue_of(cpu);
	u64 max_debt = debt_bound(MAX_DEBT_NS, nr_competing(cpu));

	insert_vtime(p, cpu, SLICE_NS, clamp_vtime(rec, q->clock, max_debt), enq_flags);
	kick_idle_cpu(p);
}

/* A task is only ever moved to a CPU that it may run on: the kernel skips the others. */
static __always_inline void steal(s32 cpu)
{
	u32 i;

	bpf_for(i, 1, nr_cpus) {
		u32 victim = (cpu + i) % nr_cpus;

		if (scx_bpf_dsq_nr_queued(victim) > 0 && scx_bpf_dsq_move_to_local(victim))
			break;
	}
}

/* Gives @prev, whose slice is over, another one if it then still comes before all who wait
 * here: it is not in the queue yet, so it would never get more than every other slice.
 */
static __always_inline bool extends_slice(struct task_struct *prev, s32 cpu)
{
	struct task_record *rec;
	struct task_struct *next;

	if (!can_extend_slice(prev, queue_of(cpu)->slices))
		return false;
	next = scx_bpf_dsq_peek(cpu);
	rec = record_find(prev);
	if (!next || !rec ||
	    !time_before(rec->vruntime + scale_by_weight(prev, SLICE_NS), next->scx.dsq_vtime) ||
	    !scx_bpf_task_set_slice(prev, SLICE_NS))
		return false;
	charge(prev, rec, cpu, SLICE_NS);
	queue_of(cpu)->slices++;
	return true;
}

SEC("struct_ops/cfsish_dispatch")
void BPF_PROG(cfsish_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!extends_slice(prev, cpu) && !scx_bpf_dsq_move_to_local(cpu))
		steal(cpu);
	cleanup_dispatch();
}

SEC("struct_ops/cfsish_running")
void BPF_PROG(cfsish_running, struct task_struct *p)
{
	struct task_record *rec = task_record_get(p);
	struct queue *q = queue_of(scx_bpf_task_cpu(p));

	q->slices = 1;
	if (rec)
		q->clock = clock_of_running(rec, q->clock);
}

SEC("struct_ops/cfsish_stopping")
void BPF_PROG(cfsish_stopping, struct task_struct *p, bool runnable)
{
	charge(p, task_record_get(p), scx_bpf_task_cpu(p), slice_used(p));
}

SEC("struct_ops/cfsish_exit_task")
void BPF_PROG(cfsish_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	record_exit(p);
}

/* Without these two the kernel throws the scheduler out when a CPU comes or goes. There is
 * nothing to do: see the head of this file.
 */
SEC("struct_ops/cfsish_cpu_online")
void BPF_PROG(cfsish_cpu_online, s32 cpu) {}

SEC("struct_ops/cfsish_cpu_offline")
void BPF_PROG(cfsish_cpu_offline, s32 cpu) {}

SEC("struct_ops.s/cfsish_init")
s32 BPF_PROG(cfsish_init)
{
	s32 err = 0;
	u32 cpu;

	nr_cpus = scx_bpf_nr_cpu_ids();
	if (nr_cpus > MAX_CPUS)
		return -E2BIG;
	bpf_for(cpu, 0, nr_cpus) {
		err = scx_bpf_create_dsq(cpu, -1);
		if (err)
			break;
		queue_of(cpu)->clock = CLOCK_START_NS;
	}
	return err ?: cleanup_init();
}

SEC(".struct_ops.link")
struct sched_ext_ops cfsish_ops = {
	.select_cpu	= (void *)cfsish_select_cpu,
	.enqueue	= (void *)cfsish_enqueue,
	.dispatch	= (void *)cfsish_dispatch,
	.running	= (void *)cfsish_running,
	.stopping	= (void *)cfsish_stopping,
	.exit_task	= (void *)cfsish_exit_task,
	.cpu_online	= (void *)cfsish_cpu_online,
	.cpu_offline	= (void *)cfsish_cpu_offline,
	.init		= (void *)cfsish_init,
	.timeout_ms	= TIMEOUT_MS,
	.name		= OPS_NAME,
};
