/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The per-task state of every scheduler here, and the bookkeeping around it.
 *
 * `tasks` maps a pid to its record. A scheduler that only ever inserts, as the control
 * variants do, leaks an entry for each task that has exited. The map and everything
 * in this file are the same in control and in test, so that the two differ by the
 * clean-up alone.
 *
 * `order` holds the pid of every entry once, in the order of insertion; it is what lets
 * a clean-up go on where it stopped. Its invariant: an entry is pushed after it was
 * inserted, and popped before it is deleted, so the queue never holds more than the
 * map and cannot overflow.
 *
 * Known limits: pids are reused, and a task that gets the pid of a leaked entry
 * inherits that entry's vruntime; a full map refuses new tasks (counted), which are
 * then scheduled without a record.
 */
#ifndef SCXLAB_TASKS_BPF_H
#define SCXLAB_TASKS_BPF_H

#include "scx.bpf.h"

/* Entries of the map at the most. */
#ifndef MAX_ENTRIES
#define MAX_ENTRIES 65536
#endif
/* 1: all elements are allocated when the map is made; 0: one by one, as tasks come. */
#ifndef PREALLOC
#define PREALLOC 0
#endif

/* How long a task may run before others get their turn. */
#define SLICE_NS (20 * NSEC_PER_MSEC)

_Static_assert(MAX_ENTRIES >= 64 && MAX_ENTRIES <= 1 << 22, "MAX_ENTRIES");
_Static_assert(PREALLOC == 0 || PREALLOC == 1, "PREALLOC");

/* The time stamp is the last u64 of the record: helpers that age entries of a map
 * whose type they do not know look for it there.
 */
struct task_record {
	u64 vruntime;
	u64 weight;
	u64 last_seen_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
#if !PREALLOC
	__uint(map_flags, BPF_F_NO_PREALLOC);
#endif
	__type(key, u32);
	__type(value, struct task_record);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_ENTRIES);
	__uint(value_size, sizeof(u32));
} order SEC(".maps");

/* Read from outside while the scheduler runs, by the names of the members. All are
 * cumulative but longest_scan_ns. `dropped` counts entries that were deleted because
 * the queue refused them, which its invariant rules out but for a lock that timed out.
 */
struct cleanup_counters {
	u64 inserted;
	u64 insert_failures;
	u64 dropped;
	u64 evicted;
	u64 scans;
	u64 scanned;
	u64 budget_hits;
	u64 longest_scan_ns;
	u64 scan_time_ns;
};

struct cleanup_counters counters SEC(".bss.counters");

/* The largest vruntime that has run. */
u64 vtime_now;

/* Where a task starts that was never seen before: a slice behind the others. At
 * vtime_now itself, a storm of short-lived tasks would run before everybody who is ahead
 * of it and, ending before they are charged, never move it on: a task of nice 19 then
 * waits until the storm is over. Seen with khugepaged, preempted in an RCU read section.
 */
static __always_inline u64 vtime_of_newcomer(void)
{
	return vtime_now + SLICE_NS;
}

static __noinline void record_drop(u32 pid)
{
	if (!bpf_map_delete_elem(&tasks, &pid))
		__sync_fetch_and_add(&counters.dropped, 1);
}

static __noinline struct task_record *record_insert(u32 pid, u64 weight, u64 now)
{
	struct task_record fresh = {
		.vruntime = vtime_of_newcomer(),
		.weight = weight,
		.last_seen_ns = now,
	};

	if (bpf_map_update_elem(&tasks, &pid, &fresh, BPF_NOEXIST)) {
		__sync_fetch_and_add(&counters.insert_failures, 1);
		return NULL;
	}
	__sync_fetch_and_add(&counters.inserted, 1);
	if (bpf_map_push_elem(&order, &pid, BPF_ANY)) {
		record_drop(pid);
		return NULL;
	}
	return bpf_map_lookup_elem(&tasks, &pid);
}

/* The record of @p, made if there is none; marks it as seen now. NULL if the map is
 * full. Callers hold the lock of @p's run queue, so nobody else inserts the same pid.
 */
static __always_inline struct task_record *record_of(struct task_struct *p)
{
	u32 pid = p->pid;
	u64 now = bpf_ktime_get_ns();
	struct task_record *rec = bpf_map_lookup_elem(&tasks, &pid);

	if (!rec)
		return record_insert(pid, p->scx.weight, now);
	rec->last_seen_ns = now;
	return rec;
}

#endif
