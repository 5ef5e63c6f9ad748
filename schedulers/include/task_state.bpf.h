/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The per-task state of every scheduler here, and the bookkeeping around it.
 *
 * `tasks` maps a pid to its record. A scheduler that only ever inserts, as the control
 * variants do, leaks an entry for each task that has exited. Everything in this file is
 * the same in control and in test, so that the two differ by the clean-up alone; only
 * the strategies that are another kind of map (lru, storage) change that kind.
 *
 * `scan_queue` holds the pid of every entry once, in the order of insertion; it is what lets
 * a clean-up go on where it stopped. Its invariant where it is used: an entry is pushed
 * after it was inserted, and popped before it is deleted, so the queue never holds more
 * than the map and cannot overflow. Where it is not used it is kept all the same, as a
 * ring that forgets its oldest pid.
 *
 * Known limits: pids are reused, and a task that gets the pid of a leaked entry
 * inherits that entry's vruntime; a full map refuses new tasks (counted), which are
 * then scheduled without a record.
 */
#ifndef SCXLAB_TASK_STATE_BPF_H
#define SCXLAB_TASK_STATE_BPF_H

#include "scx.bpf.h"

/* What a strategy may define before it includes this: another kind of map, and that it
 * goes through `scan_queue`.
 */
#ifndef TASKS_ARE_LRU
#define TASKS_ARE_LRU 0
#endif
#ifndef TASKS_ARE_STORAGE
#define TASKS_ARE_STORAGE 0
#endif
#ifndef SCAN_QUEUE_IS_USED
#define SCAN_QUEUE_IS_USED 0
#endif

/* Entries of the map at the most. */
#ifndef MAX_ENTRIES
#define MAX_ENTRIES 65536
#endif
/* 1: all elements are allocated when the map is made; 0: one by one, as tasks come. */
#ifndef PREALLOC
#define PREALLOC 0
#endif
/* Entries of the map with the strategy lru, in the stead of MAX_ENTRIES. */
#ifndef LRU_ENTRIES
#define LRU_ENTRIES 1024
#endif

/* How long a task may run before others get their turn. */
#define SLICE_NS (20 * NSEC_PER_MSEC)
/* A task of this weight ages in real time. */
#define NEUTRAL_WEIGHT 100

_Static_assert(MAX_ENTRIES >= 64 && MAX_ENTRIES <= 1 << 22, "MAX_ENTRIES");
_Static_assert(PREALLOC == 0 || PREALLOC == 1, "PREALLOC");
_Static_assert(LRU_ENTRIES >= 64 && LRU_ENTRIES <= 1 << 22, "LRU_ENTRIES");

/* The time stamp is the last u64 of the record: helpers that age entries of a map
 * whose type they do not know look for it there.
 */
struct task_record {
	u64 vruntime;
	u64 weight;
	u64 exited;	/* 1: the task is gone and the entry is not: it has leaked */
	u64 last_seen_ns;
};

struct {
#if TASKS_ARE_STORAGE
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
#elif TASKS_ARE_LRU
	/* The kernel always allocates all of its elements in advance. */
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LRU_ENTRIES);
	__type(key, u32);
#else
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
#if !PREALLOC
	__uint(map_flags, BPF_F_NO_PREALLOC);
#endif
	__type(key, u32);
#endif
	__type(value, struct task_record);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_ENTRIES);
	__uint(value_size, sizeof(u32));
} scan_queue SEC(".maps");

/* Read from outside while the scheduler runs, by the names of the members. All are
 * cumulative but longest_scan_ns.
 */
struct cleanup_counters {
	u64 inserted;
	u64 insert_failures;
	u64 dropped;		/* deleted because the queue refused them: none, but */
				/* for a lock that timed out */
	u64 left_behind;	/* tasks that exited while they had an entry */
	u64 reused;		/* leaked entries that a new task of that pid took over */
	u64 evicted;		/* by the clean-up; unknown where the kernel evicts */
	u64 evicted_alive;	/* of these, entries whose task had not exited */
	u64 scans;
	u64 scanned;
	u64 budget_hits;
	u64 refused;		/* scans not begun because another CPU was at it */
	u64 longest_scan_ns;
	u64 scan_time_ns;
};

struct cleanup_counters counters SEC(".bss.counters");

#define COUNT(member, n) __sync_fetch_and_add(&counters.member, n)

/* The largest vruntime that has run. */
u64 vtime_now;

/* Where a task starts that was never seen before: a slice behind the others. At
 * vtime_now itself, a storm of short-lived tasks would run before everybody who is ahead
 * of it and, ending before they are charged, never move it on: a task of nice 19 then
 * waits until the storm is over. Seen with khugepaged, preempted in an RCU read section.
 */
static __always_inline u64 init_vtime(void)
{
	return vtime_now + SLICE_NS;
}

static __always_inline u64 scale_by_weight(struct task_struct *p, u64 used_ns)
{
	return used_ns * NEUTRAL_WEIGHT / (p->scx.weight ?: NEUTRAL_WEIGHT);
}

/* What a task that stops has used of its slice. */
static __always_inline u64 slice_used(struct task_struct *p)
{
	return p->scx.slice < SLICE_NS ? SLICE_NS - p->scx.slice : 0;
}

/* A task's debt is bounded by @whole divided by those it competes with, but always by a
 * slice at least.
 */
static __always_inline u64 debt_bound(u64 whole, u64 nr_competing)
{
	return whole / nr_competing > SLICE_NS ? whole / nr_competing : SLICE_NS;
}

/* Tasks that wait in @dsq_id, and one that runs. */
static __always_inline u64 nr_competing(u64 dsq_id)
{
	s32 waiting = scx_bpf_dsq_nr_queued(dsq_id);

	return waiting > 0 ? waiting + 1 : 1;
}

/* --- the map, whatever kind it is --- */

static __always_inline struct task_record *record_find(struct task_struct *p)
{
#if TASKS_ARE_STORAGE
	return bpf_task_storage_get(&tasks, p, NULL, 0);
#else
	u32 pid = p->pid;

	return bpf_map_lookup_elem(&tasks, &pid);
#endif
}

static __always_inline bool record_add(struct task_struct *p, struct task_record *rec)
{
#if TASKS_ARE_STORAGE
	return bpf_task_storage_get(&tasks, p, rec, BPF_LOCAL_STORAGE_GET_F_CREATE);
#else
	u32 pid = p->pid;

	return !bpf_map_update_elem(&tasks, &pid, rec, BPF_NOEXIST);
#endif
}

static __always_inline void record_drop(struct task_struct *p)
{
#if TASKS_ARE_STORAGE
	long err = bpf_task_storage_delete(&tasks, p);
#else
	u32 pid = p->pid;
	long err = bpf_map_delete_elem(&tasks, &pid);
#endif
	if (!err)
		COUNT(dropped, 1);
}

/* --- bookkeeping --- */

static __always_inline struct task_record *record_insert(struct task_struct *p, u64 now)
{
	struct task_record fresh = {
		.vruntime = init_vtime(),
		.weight = p->scx.weight,
		.last_seen_ns = now,
	};
	u32 pid = p->pid;

	if (!record_add(p, &fresh)) {
		COUNT(insert_failures, 1);
		return NULL;
	}
	COUNT(inserted, 1);
	if (bpf_map_push_elem(&scan_queue, &pid, SCAN_QUEUE_IS_USED ? BPF_ANY : BPF_EXIST)) {
		record_drop(p);
		return NULL;
	}
	return record_find(p);
}

/* The record of @p, made if there is none; marks it as seen now. NULL if the map is
 * full. Callers hold the lock of @p's run queue, so nobody else inserts the same pid.
 */
static __always_inline struct task_record *task_record_get(struct task_struct *p)
{
	u64 now = bpf_ktime_get_ns();
	struct task_record *rec = record_find(p);

	if (!rec)
		return record_insert(p, now);
	if (rec->exited) {
		rec->exited = 0;
		COUNT(reused, 1);
	}
	rec->last_seen_ns = now;
	return rec;
}

/* Of the strategy: what becomes of the entry of a task that exits. */
static __always_inline void cleanup_exit(struct task_struct *p);

/* To be called from ops.exit_task, in every scheduler. It is what tells an entry that
 * has leaked from one whose task sleeps.
 */
static __always_inline void record_exit(struct task_struct *p)
{
	struct task_record *rec = record_find(p);

	if (!rec)
		return;
	COUNT(left_behind, 1);
	rec->exited = 1;
	cleanup_exit(p);
}

#endif
