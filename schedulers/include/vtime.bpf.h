/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Queues of tasks ordered by vruntime, each with a clock of its own: the vruntime that
 * the queue has reached. Tasks are kept near it: the credit of sleepers and the debt of
 * those who ran are bounded, and a new task starts one slice behind.
 */
#ifndef SCXLAB_VTIME_BPF_H
#define SCXLAB_VTIME_BPF_H

#include "cleanup.bpf.h"

/* How far a task that slept may be behind the clock of its queue. */
#define SLEEPER_CREDIT_NS SLICE_NS
/* How far a task may be ahead of the clock, divided by the number of tasks that wait;
 * always at least a slice.
 */
#ifndef MAX_DEBT_NS
#define MAX_DEBT_NS (1000 * NSEC_PER_MSEC)
#endif
/* However heavy those that run are, the clock moves at 1/MAX_CLOCK_SLOWDOWN of the speed it would
 * have if all were neutral.
 */
#define MAX_CLOCK_SLOWDOWN 2
/* Slices that a task may have one after the other while others wait. */
#define MAX_SLICES 5
/* Clocks start here; see is_new(). */
#define CLOCK_START_NS (1ULL << 32)

_Static_assert(SLEEPER_CREDIT_NS <= CLOCK_START_NS / 4, "SLEEPER_CREDIT_NS");
_Static_assert(MAX_DEBT_NS >= SLICE_NS && MAX_DEBT_NS <= 10000 * NSEC_PER_MSEC,
	       "MAX_DEBT_NS");
_Static_assert(MAX_SLICES >= 1 && MAX_SLICES <= 100, "MAX_SLICES");
_Static_assert(MAX_CLOCK_SLOWDOWN >= 1 && MAX_CLOCK_SLOWDOWN <= 64, "MAX_CLOCK_SLOWDOWN");

/* Nobody moves vtime_now here, and no clock goes as low as where task_state.bpf.h starts new
 * records. So they are known by their vruntime, and are yet to be given one.
 */
static __always_inline bool is_new(struct task_record *rec)
{
	return rec->vruntime == init_vtime();
}

/* Where the task of @rec (NULL if it has none) stands in a queue. */
static __always_inline u64 clamp_vtime(struct task_record *rec, u64 clock, u64 max_debt)
{
	u64 vtime;

	if (!rec)
		return clock + SLICE_NS;
	vtime = is_new(rec) ? clock + SLICE_NS : rec->vruntime;
	if (time_before(vtime, clock - SLEEPER_CREDIT_NS))
		vtime = clock - SLEEPER_CREDIT_NS;
	if (time_before(clock + max_debt, vtime))
		vtime = clock + max_debt;
	rec->vruntime = vtime;
	return vtime;
}

/* Has @rec age by what @p used while the clock stood at @clock. */
static __always_inline void charge_task(struct task_struct *p, struct task_record *rec,
					u64 clock, u64 used_ns)
{
	if (!rec)
		return;
	clamp_vtime(rec, clock, MAX_DEBT_NS);
	rec->weight = p->scx.weight;
	rec->vruntime += scale_by_weight(p, used_ns);
}

/* What the clock of a queue becomes when the task of @rec runs: the task moves it on, or
 * is placed near it; it never goes back.
 */
static __always_inline u64 clock_of_running(struct task_record *rec, u64 clock)
{
	if (!is_new(rec) && !time_before(rec->vruntime, clock))
		return rec->vruntime;
	clamp_vtime(rec, clock, MAX_DEBT_NS);
	return clock;
}

/* Whether @prev, which has had @slices in a row, could be given another one. */
static __always_inline bool can_extend_slice(struct task_struct *prev, u32 slices)
{
	return bpf_ksym_exists(scx_bpf_dsq_peek) && bpf_ksym_exists(scx_bpf_task_set_slice) &&
	       prev && (prev->scx.flags & SCX_TASK_QUEUED) && slices < MAX_SLICES;
}

#endif
