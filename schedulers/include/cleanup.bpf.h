/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ways of removing the entries of tasks that are gone. A scheduler calls record_of(),
 * record_exit() (tasks.bpf.h), cleanup_init() and cleanup_dispatch() at their places;
 * which of them does something is decided by the strategy.
 *
 * none     control.
 * scan     From ops.dispatch, once a period, on one CPU at a time and within a time
 *          budget: entries not seen for max_age are evicted. The scan takes pids from
 *          the front of `order` and puts back at its end those that stay, so it goes on
 *          next time where the budget stopped it, and spends nothing on empty buckets.
 *          It levels off when the entries it can visit a second exceed the tasks forked
 *          a second; with less it falls behind for ever (see budget_hits).
 * timer    The same scan from a bpf_timer, off the hot path and without a run queue's
 *          lock; a tenth of the period later already while the budget runs out.
 * kfunc    scx_bpf_map_scan_timeout() of the module in schedulers/module, or of a
 *          kernel that has it, called from ops.dispatch as `scan` is.
 * exit     ops.exit_task deletes the entry: exact, and nothing to tune.
 * lru      BPF_MAP_TYPE_LRU_HASH: the kernel evicts when the map is full.
 * storage  BPF_MAP_TYPE_TASK_STORAGE: the record lives and dies with its task.
 *
 * Limits: age is no proof of death. With scan, timer and kfunc, a task that sleeps
 * longer than max_age loses its record and starts with a fresh one when it wakes; with
 * lru so does one that others have crowded out. A record that is refreshed between the
 * check of its age and its deletion is lost the same way. Dispatch is not called on a CPU
 * whose task has no competitor, so there the period is a lower bound. scan and timer read
 * the clock after each entry: the budget is overrun by one entry, or by what an
 * interrupt or the hypervisor takes.
 */
#ifndef SCXLAB_CLEANUP_BPF_H
#define SCXLAB_CLEANUP_BPF_H

#include "tasks.bpf.h"

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

#define PERIOD_NS (PERIOD_MS * NSEC_PER_MSEC)
#define BUDGET_NS (BUDGET_US * NSEC_PER_USEC)
#define MAX_AGE_NS (MAX_AGE_MS * NSEC_PER_MSEC)

/* Of one scan. There is one writer at a time; atomic all the same, so that a reader
 * never sees a torn value.
 */
static __always_inline void count_scan(u64 took_ns, bool over_budget)
{
	COUNT(scans, 1);
	COUNT(scan_time_ns, took_ns);
	COUNT(budget_hits, over_budget);
	if (took_ns > counters.longest_scan_ns)
		counters.longest_scan_ns = took_ns;
}

#if ORDER_IS_USED

struct scan {
	u64 start_ns;
	u64 now_ns;
	u64 scanned;
	u64 evicted;
	u64 evicted_alive;
	bool over_budget;
};

/* False if the entry has to leave because its pid could not be put back. */
static __always_inline bool scan_visit(u32 pid, struct scan *scan)
{
	struct task_record *rec = bpf_map_lookup_elem(&tasks, &pid);
	bool alive;

	if (!rec)
		return true;
	/* Signed: the record may have been refreshed after the scan read the clock. */
	if ((s64)(scan->now_ns - rec->last_seen_ns) <= (s64)MAX_AGE_NS)
		return !bpf_map_push_elem(&order, &pid, BPF_ANY);
	alive = !rec->exited;
	if (!bpf_map_delete_elem(&tasks, &pid)) {
		scan->evicted++;
		scan->evicted_alive += alive;
	}
	return true;
}

static long scan_step(u64 index, struct scan *scan)
{
	u32 pid;

	if (bpf_map_pop_elem(&order, &pid))
		return 1;
	scan->scanned++;
	if (!scan_visit(pid, scan) && !bpf_map_delete_elem(&tasks, &pid))
		COUNT(dropped, 1);
	scan->now_ns = bpf_ktime_get_ns();
	scan->over_budget = scan->now_ns - scan->start_ns >= BUDGET_NS;
	return scan->over_budget;
}

/* One turn of the queue at the most; true if the budget ended it. */
static __noinline bool scan_run(u64 now)
{
	struct scan scan = { .start_ns = now, .now_ns = now };
	u64 entries = counters.inserted - counters.evicted - counters.dropped;

	bpf_loop(entries > MAX_ENTRIES ? MAX_ENTRIES : entries, scan_step, &scan, 0);
	COUNT(scanned, scan.scanned);
	COUNT(evicted, scan.evicted);
	COUNT(evicted_alive, scan.evicted_alive);
	count_scan(scan.now_ns - scan.start_ns, scan.over_budget);
	return scan.over_budget;
}

#endif

#if CLEANUP == CLEANUP_KFUNC

/* Returns 0, -ETIMEDOUT when the budget ended the scan, -EBUSY when another CPU scans. */
int scx_bpf_map_scan_timeout(struct bpf_map *map, u64 timeout_ns, u64 max_age_ns,
			     u32 *evicted) __ksym;

#define ETIMEDOUT 110
#define EBUSY 16

static __noinline bool scan_run(u64 now)
{
	u32 evicted = 0;
	int ret = scx_bpf_map_scan_timeout((struct bpf_map *)&tasks, BUDGET_NS,
					   MAX_AGE_NS, &evicted);

	COUNT(evicted, evicted);
	if (ret == -EBUSY)
		COUNT(refused, 1);
	else
		count_scan(bpf_ktime_get_ns() - now, ret == -ETIMEDOUT);
	return ret == -ETIMEDOUT;
}

#endif

#if CLEANUP == CLEANUP_SCAN || CLEANUP == CLEANUP_KFUNC

u64 scan_not_before_ns;
u32 scan_running;

static __always_inline void cleanup_dispatch(void)
{
	u64 now = bpf_ktime_get_ns();

	if (time_before(now, scan_not_before_ns))
		return;
	if (__sync_lock_test_and_set(&scan_running, 1)) {
		COUNT(refused, 1);
		return;
	}
	/* Another CPU may have scanned since the clock was read. */
	if (!time_before(now, scan_not_before_ns)) {
		scan_run(now);
		scan_not_before_ns = bpf_ktime_get_ns() + PERIOD_NS;
	}
	__sync_fetch_and_and(&scan_running, 0);
}

#else

static __always_inline void cleanup_dispatch(void) {}

#endif

#if CLEANUP == CLEANUP_TIMER

#define CLOCK_MONOTONIC 1

struct scan_timer {
	struct bpf_timer timer;
};

/* Pinned, because the kernel cancels the timers of a map that nobody holds: the program
 * that loads the scheduler ends at once. Whoever loads it removes the pin again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, u32);
	__type(value, struct scan_timer);
} scxlab_timer SEC(".maps");

static int scan_timer_fired(void *map, int *key, struct scan_timer *st)
{
	bool again_soon = scan_run(bpf_ktime_get_ns());

	bpf_timer_start(&st->timer, again_soon ? PERIOD_NS / 10 : PERIOD_NS, 0);
	return 0;
}

static __always_inline s32 cleanup_init(void)
{
	u32 key = 0;
	struct scan_timer *st = bpf_map_lookup_elem(&scxlab_timer, &key);
	long err;

	if (!st)
		return -1;
	err = bpf_timer_init(&st->timer, &scxlab_timer, CLOCK_MONOTONIC);
	if (!err)
		err = bpf_timer_set_callback(&st->timer, scan_timer_fired);
	if (!err)
		err = bpf_timer_start(&st->timer, PERIOD_NS, 0);
	return err;
}

#else

static __always_inline s32 cleanup_init(void)
{
	return 0;
}

#endif

#endif
