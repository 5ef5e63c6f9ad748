/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A scan that takes pids from the front of `scan_queue` and puts back at its end those that
 * stay, so it goes on next time where the budget stopped it, and spends nothing on empty
 * buckets. It levels off when the entries it can visit a second exceed the tasks forked a
 * second; with less it falls behind for ever (see budget_hits).
 */
#ifndef SCXLAB_SCAN_QUEUE_BPF_H
#define SCXLAB_SCAN_QUEUE_BPF_H

#define SCAN_QUEUE_IS_USED 1

#include "scan_common.bpf.h"

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
		return !bpf_map_push_elem(&scan_queue, &pid, BPF_ANY);
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

	if (bpf_map_pop_elem(&scan_queue, &pid))
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
