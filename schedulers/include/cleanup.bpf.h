/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ways of removing the entries of tasks that are gone. A scheduler calls the hooks
 * below at their places; which of them do something is decided by CLEANUP, and by
 * TREATMENT, which only the test variant defines: control has them all empty.
 *
 * CLEANUP_SCAN: from ops.dispatch, once a period, on one CPU at a time and within a
 * time budget, entries not seen for max_age are evicted. The scan takes pids from the
 * front of `order` and puts back at its end those that stay, so it goes on next time
 * where the budget stopped it and spends nothing on empty buckets. It levels off when
 * the entries it can visit a second exceed the tasks that are forked a second; with less
 * it falls behind for ever, which the counter budget_hits shows.
 *
 * Limits: age is no proof of death. A task that sleeps longer than max_age loses its
 * record, and starts with a fresh one when it wakes. A record that is refreshed between
 * the check of its age and its deletion is lost the same way. Dispatch is not called
 * on a CPU whose task has no competitor, so the period is a lower bound. The clock is
 * read after each entry: the budget is overrun by one entry at most, or by what an
 * interrupt or the hypervisor takes.
 */
#ifndef SCXLAB_CLEANUP_BPF_H
#define SCXLAB_CLEANUP_BPF_H

#include "tasks.bpf.h"

#define CLEANUP_NONE 0
#define CLEANUP_SCAN 1

#ifndef TREATMENT
#undef CLEANUP
#define CLEANUP CLEANUP_NONE
#endif

#ifndef CLEANUP
#error "the test variant needs a strategy: -DCLEANUP=CLEANUP_..."
#endif

/* Time between the end of a scan and the start of the next. */
#ifndef PERIOD_MS
#define PERIOD_MS 100
#endif
/* Time that one scan may take. */
#ifndef BUDGET_US
#define BUDGET_US 500
#endif
/* Age from which an entry counts as stale. */
#ifndef MAX_AGE_MS
#define MAX_AGE_MS 2000
#endif

_Static_assert(PERIOD_MS >= 1 && PERIOD_MS <= 60000, "PERIOD_MS");
_Static_assert(BUDGET_US >= 1 && BUDGET_US <= 100000, "BUDGET_US");
_Static_assert(MAX_AGE_MS >= 1 && MAX_AGE_MS <= 600000, "MAX_AGE_MS");

#if CLEANUP == CLEANUP_SCAN

u64 scan_not_before_ns;
u32 scan_running;

struct scan {
	u64 start_ns;
	u64 now_ns;
	u64 scanned;
	u64 evicted;
	bool over_budget;
};

static __always_inline bool scan_visit(u32 pid, struct scan *scan)
{
	struct task_record *rec = bpf_map_lookup_elem(&tasks, &pid);

	if (!rec)
		return true;
	/* Signed: the record may have been refreshed after the scan read the clock. */
	if ((s64)(scan->now_ns - rec->last_seen_ns) > (s64)(MAX_AGE_MS * NSEC_PER_MSEC)) {
		if (!bpf_map_delete_elem(&tasks, &pid))
			scan->evicted++;
		return true;
	}
	return !bpf_map_push_elem(&order, &pid, BPF_ANY);
}

static long scan_step(u64 index, struct scan *scan)
{
	u32 pid;

	if (bpf_map_pop_elem(&order, &pid))
		return 1;
	scan->scanned++;
	if (!scan_visit(pid, scan))
		record_drop(pid);
	scan->now_ns = bpf_ktime_get_ns();
	scan->over_budget = scan->now_ns - scan->start_ns >= BUDGET_US * NSEC_PER_USEC;
	return scan->over_budget;
}

static __noinline void scan_run(u64 now)
{
	struct scan scan = { .start_ns = now, .now_ns = now };
	u64 entries = counters.inserted - counters.evicted - counters.dropped;
	u64 took;

	/* One turn of the queue at the most. */
	bpf_loop(entries > MAX_ENTRIES ? MAX_ENTRIES : entries, scan_step, &scan, 0);
	took = scan.now_ns - scan.start_ns;
	/* Atomic only so that no reader sees a torn value: there is one writer. */
	__sync_fetch_and_add(&counters.scans, 1);
	__sync_fetch_and_add(&counters.scanned, scan.scanned);
	__sync_fetch_and_add(&counters.evicted, scan.evicted);
	__sync_fetch_and_add(&counters.budget_hits, scan.over_budget);
	__sync_fetch_and_add(&counters.scan_time_ns, took);
	if (took > counters.longest_scan_ns)
		counters.longest_scan_ns = took;
	scan_not_before_ns = scan.now_ns + PERIOD_MS * NSEC_PER_MSEC;
}

static __always_inline void cleanup_dispatch(void)
{
	u64 now = bpf_ktime_get_ns();

	if (time_before(now, scan_not_before_ns))
		return;
	if (__sync_lock_test_and_set(&scan_running, 1))
		return;
	/* Another CPU may have scanned since the clock was read. */
	if (!time_before(now, scan_not_before_ns))
		scan_run(now);
	__sync_fetch_and_and(&scan_running, 0);
}

#elif CLEANUP == CLEANUP_NONE

static __always_inline void cleanup_dispatch(void) {}

#else
#error "unknown CLEANUP"
#endif

#endif
