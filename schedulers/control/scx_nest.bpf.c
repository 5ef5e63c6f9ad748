// SPDX-License-Identifier: GPL-2.0-only
/*
 * scx_nest: packs the work on few cores, which stay warm.
 *
 * Policy: after Lawall et al., "OS Scheduling with Nest: Keeping Tasks Close Together on
 * Warm Cores", EuroSys 2022. The primary nest holds the CPUs in use, the reserve nest
 * those that were lately, or were taken on trial; all others are left alone. A task that
 * wakes is put on the first idle CPU of: the primary nest, beginning with the CPU it was
 * on; the reserve, which thereby becomes primary; the rest, which thereby becomes
 * reserve (or primary, if the reserve is full). A task that finds its CPU busy IMPATIENCE
 * times in a row looks into the primary nest last, and where it goes becomes primary: so
 * the nest grows under load. A primary CPU that has been idle for COMPACTION_NS is moved
 * to the reserve, or out of both nests if the reserve is full: so it shrinks. When no CPU
 * is idle, tasks wait in one queue for all, ordered by vruntime as in scx_simple, with the
 * debt of those who ran bounded as well; CPUs that run dry take the first.
 *
 * Limits: the nest is one for the machine, with no regard for sockets, shared cores and
 * caches, or cgroups, and one lock for the queue. No spinning on idle CPUs to keep them
 * warm, as the paper has it. A task never gets two slices in a row while another waits,
 * whatever its weight. It is meant for machines with many more CPUs than tasks; it
 * behaves badly where all CPUs are busy (as scx_simple does, with a search on top of each
 * wake-up that grows with the number of CPUs). Idle CPUs that nobody wakes are moved out
 * at the next wake-up of a task only. Per-task state follows task_state.bpf.h, with its
 * limits; impatience is counted by a hash of the pid, so tasks may add to that of others.
 *
 * When a CPU goes offline, tasks that wait and were bound to it get other CPUs from the
 * kernel, and go on. Tested, with tasks that never sleep.
 *
 * Known races: nests and impatience are read without a lock. A CPU may be moved out of
 * the primary nest while a task is sent there; it returns with the next wake-up on it.
 * vtime_now is advanced without a lock, as in scx_simple.
 */
#include "cleanup.bpf.h"

char _license[] SEC("license") = "GPL";

/* CPUs in the reserve at the most. */
#define RESERVE_MAX 5
/* Idleness after which a CPU leaves the primary nest. */
#define COMPACTION_NS (8 * NSEC_PER_MSEC)
/* Time between two looks for such CPUs. */
#define COMPACTION_PERIOD_NS (2 * NSEC_PER_MSEC)
/* Wake-ups in a row with the own CPU busy, until a task wants a new one. */
#define IMPATIENCE 2
/* Counters of impatience; a power of two. */
#define IMPATIENCE_SLOTS 4096
/* How far a task may be ahead of vtime_now, divided by the number of tasks that wait;
 * always at least a slice.
 */
#define MAX_DEBT_NS (1000 * NSEC_PER_MSEC)

_Static_assert(RESERVE_MAX >= 0 && RESERVE_MAX <= MAX_CPUS, "RESERVE_MAX");
_Static_assert(COMPACTION_NS >= NSEC_PER_MSEC && COMPACTION_NS <= 10000 * NSEC_PER_MSEC,
	       "COMPACTION_NS");
_Static_assert(COMPACTION_PERIOD_NS >= NSEC_PER_USEC &&
	       COMPACTION_PERIOD_NS <= COMPACTION_NS, "COMPACTION_PERIOD_NS");
_Static_assert(IMPATIENCE >= 1 && IMPATIENCE <= 1000, "IMPATIENCE");
_Static_assert(IMPATIENCE_SLOTS >= 1 && IMPATIENCE_SLOTS <= 1 << 20 &&
	       !(IMPATIENCE_SLOTS & (IMPATIENCE_SLOTS - 1)), "IMPATIENCE_SLOTS");
_Static_assert(MAX_DEBT_NS >= SLICE_NS && MAX_DEBT_NS <= 10000 * NSEC_PER_MSEC,
	       "MAX_DEBT_NS");

#define SHARED_DSQ 0ULL

enum nest { NO_NEST, RESERVE, PRIMARY };

struct core {
	u32 nest;		/* enum nest */
	u64 idle_since_ns;	/* 0: busy */
} __attribute__((aligned(64)));

struct core cores[MAX_CPUS];
u32 impatience[IMPATIENCE_SLOTS];
u32 nr_cpus;
s32 nr_reserve;
u64 compact_not_before_ns;

/* Init has checked the number of CPUs; the mask is for the verifier. */
static __always_inline struct core *core_of(s32 cpu)
{
	return &cores[cpu & (MAX_CPUS - 1)];
}

/* Whoever wins the exchange counts, so that nr_reserve stays exact. */
static __always_inline void move_core(struct core *core, u32 from, u32 to)
{
	if (from == to || __sync_val_compare_and_swap(&core->nest, from, to) != from)
		return;
	if (from == RESERVE)
		__sync_fetch_and_add(&nr_reserve, -1);
	if (to == RESERVE)
		__sync_fetch_and_add(&nr_reserve, 1);
}

static __always_inline bool take_if_idle(struct task_struct *p, s32 cpu)
{
	return bpf_cpumask_test_cpu(cpu, p->cpus_ptr) && scx_bpf_test_and_clear_cpu_idle(cpu);
}

/* An idle CPU of a nest that @p may run on, the nearest number from @start on; or -1. */
static __noinline s32 find_idle(struct task_struct *p, u32 start, u32 nest)
{
	u32 i;

	bpf_for(i, 0, nr_cpus) {
		u32 cpu = start + i < nr_cpus ? start + i : start + i - nr_cpus;

		if (core_of(cpu)->nest == nest && take_if_idle(p, cpu))
			return cpu;
	}
	return -1;
}

/* Moves primary CPUs out that have been idle for too long. */
static __noinline void compact(u64 now)
{
	u32 cpu;

	bpf_for(cpu, 0, nr_cpus) {
		struct core *core = core_of(cpu);
		u64 since;

		if (core->nest != PRIMARY)
			continue;
		since = core->idle_since_ns;
		if (since && (s64)(now - since) > (s64)COMPACTION_NS)
			move_core(core, PRIMARY, nr_reserve < RESERVE_MAX ? RESERVE : NO_NEST);
	}
}

static __always_inline void compact_now_and_then(void)
{
	u64 now = bpf_ktime_get_ns(), due = compact_not_before_ns;

	if (time_before(now, due))
		return;
	if (__sync_val_compare_and_swap(&compact_not_before_ns, due,
					now + COMPACTION_PERIOD_NS) == due)
		compact(now);
}

/* Counts @p's failures to get its CPU; true if it has run out of patience. A task that has
 * just been forked has no CPU yet.
 */
static __always_inline bool loses_patience(struct task_struct *p, bool got_its_cpu)
{
	u32 *failures = &impatience[(u32)p->pid & (IMPATIENCE_SLOTS - 1)];

	if (got_its_cpu) {
		*failures = 0;
		return false;
	}
	if (++*failures < IMPATIENCE)
		return false;
	*failures = 0;
	return true;
}

SEC("struct_ops/nest_select_cpu")
s32 BPF_PROG(nest_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool home = core_of(prev_cpu)->nest == PRIMARY && take_if_idle(p, prev_cpu);
	bool impatient = loses_patience(p, home || (wake_flags & SCX_WAKE_FORK));
	s32 cpu = home ? prev_cpu : -1;
	u32 from = PRIMARY;

	compact_now_and_then();
	if (cpu < 0 && !impatient)
		cpu = find_idle(p, prev_cpu, PRIMARY);
	if (cpu < 0)
		cpu = find_idle(p, prev_cpu, from = RESERVE);
	if (cpu < 0)
		cpu = find_idle(p, prev_cpu, from = NO_NEST);
	if (cpu < 0 && impatient)
		cpu = find_idle(p, prev_cpu, from = PRIMARY);
	if (cpu < 0)
		return prev_cpu;
	move_core(core_of(cpu), from, from == NO_NEST && !impatient &&
		  nr_reserve < RESERVE_MAX ? RESERVE : PRIMARY);
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/nest_enqueue")
void BPF_PROG(nest_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_record *rec = task_record_get(p);
	u64 vtime = rec ? rec->vruntime : init_vtime();
	u64 max_debt = debt_bound(MAX_DEBT_NS, nr_competing(SHARED_DSQ));

	if (time_before(vtime, vtime_now - SLICE_NS))
		vtime = vtime_now - SLICE_NS;
	if (time_before(vtime_now + max_debt, vtime))
		vtime = vtime_now + max_debt;
	if (rec)
		rec->vruntime = vtime;
	insert_vtime(p, SHARED_DSQ, SLICE_NS, vtime, enq_flags);
	kick_idle_cpu(p);
}

SEC("struct_ops/nest_dispatch")
void BPF_PROG(nest_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(SHARED_DSQ);
	cleanup_dispatch();
}

SEC("struct_ops/nest_running")
void BPF_PROG(nest_running, struct task_struct *p)
{
	struct task_record *rec = task_record_get(p);
	struct core *core = core_of(scx_bpf_task_cpu(p));

	if (rec && time_before(vtime_now, rec->vruntime))
		vtime_now = rec->vruntime;
	/* It took the task from the queue: nobody has chosen it. */
	if (core->nest == NO_NEST)
		move_core(core, NO_NEST, nr_reserve < RESERVE_MAX ? RESERVE : PRIMARY);
}

SEC("struct_ops/nest_stopping")
void BPF_PROG(nest_stopping, struct task_struct *p, bool runnable)
{
	struct task_record *rec = task_record_get(p);

	if (!rec)
		return;
	rec->weight = p->scx.weight;
	rec->vruntime += scale_by_weight(p, slice_used(p));
}

SEC("struct_ops/nest_update_idle")
void BPF_PROG(nest_update_idle, s32 cpu, bool idle)
{
	core_of(cpu)->idle_since_ns = idle ? bpf_ktime_get_ns() : 0;
}

SEC("struct_ops/nest_exit_task")
void BPF_PROG(nest_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	record_exit(p);
}

/* Without these two the kernel throws the scheduler out when a CPU comes or goes. */
SEC("struct_ops/nest_cpu_online")
void BPF_PROG(nest_cpu_online, s32 cpu) {}

SEC("struct_ops/nest_cpu_offline")
void BPF_PROG(nest_cpu_offline, s32 cpu)
{
	struct core *core = core_of(cpu);

	move_core(core, PRIMARY, NO_NEST);
	move_core(core, RESERVE, NO_NEST);
}

SEC("struct_ops.s/nest_init")
s32 BPF_PROG(nest_init)
{
	nr_cpus = scx_bpf_nr_cpu_ids();
	if (nr_cpus > MAX_CPUS)
		return -E2BIG;
	return scx_bpf_create_dsq(SHARED_DSQ, -1) ?: cleanup_init();
}

SEC(".struct_ops.link")
struct sched_ext_ops nest_ops = {
	.select_cpu	= (void *)nest_select_cpu,
	.enqueue	= (void *)nest_enqueue,
	.dispatch	= (void *)nest_dispatch,
	.running	= (void *)nest_running,
	.stopping	= (void *)nest_stopping,
	.update_idle	= (void *)nest_update_idle,
	.exit_task	= (void *)nest_exit_task,
	.cpu_online	= (void *)nest_cpu_online,
	.cpu_offline	= (void *)nest_cpu_offline,
	.init		= (void *)nest_init,
	.flags		= SCX_OPS_KEEP_BUILTIN_IDLE,
	.timeout_ms	= TIMEOUT_MS,
	.name		= OPS_NAME,
};
