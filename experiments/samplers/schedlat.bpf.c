// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long the threads of one cgroup, the workload, wait for a CPU, as two histograms: one
 * of four buckets an octave, which is small enough to be read with every sample, and one of
 * 128 an octave, by which whole runs are judged; and how long any other thread of the
 * system waited at the most, but idle and real-time ones, which no scheduler under test
 * schedules. A wait begins when a thread wakes up or is preempted, and ends when it runs.
 * Those that have not ended are in `schedlat_waits`, for whoever reads it.
 *
 * Cost: two array lookups a wake-up and three a switch; the workload's threads pay for the
 * buckets besides. Nothing is allocated, so the memory of the system under test stays as it
 * is.
 *
 * Limits: the start of a wait is kept in a slot that the pid is hashed to. Where two
 * threads that wait share a slot, the wait of the second is lost: one that starves is
 * never overwritten (the pid is checked, so none is mixed up). What waits for longer than
 * 2^40 ns counts in the last bucket. A thread that changes its cgroup while it waits counts
 * where it began.
 *
 * Known races: a wait may end while somebody reads `schedlat_waits`; it is then told as one
 * that goes on. So is, until it is switched from, a thread that begins to run while
 * schedlat_seed looks at it.
 *
 * Needs Linux 5.13 (a batch of a per-CPU array) and reads the state of `prev` as the
 * tracepoint sched_switch gives it since 5.18; before, threads that were preempted by the
 * end of their slice alone count from their next wake-up on.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define SLOTS 65536
#define OCTAVES 40
#define BUCKETS (4 * OCTAVES)
#define FINE_BITS 7
#define FINE_BUCKETS (OCTAVES << FINE_BITS)

#define MAX_RT_PRIO 100

struct wait {
	__u64 since_ns;		/* 0: it does not wait */
	__u32 pid;
	__u32 of_workload;
};

struct histogram {
	__u64 count;
	__u64 sum_ns;
	__u64 max_ns;
	__u64 system_max_ns;	/* of threads that are not the workload's */
	__u64 buckets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct wait);
} schedlat_waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} schedlat_hist SEC(".maps");

/* One bucket an element, as a value of a per-CPU map holds no more than 32 kB. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FINE_BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} schedlat_fine SEC(".maps");

struct measured {
	__u64 cgroup;		/* the id of the workload's; 0: nobody is measured */
	__u64 from_ns;		/* what waited before counts from here on */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct measured);
} schedlat_measured SEC(".maps");

static __always_inline struct measured *measured(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&schedlat_measured, &first);
}

static __always_inline struct wait *wait_of(struct task_struct *p)
{
	__u32 slot = (__u32)p->pid % SLOTS;

	return bpf_map_lookup_elem(&schedlat_waits, &slot);
}

/* Also while nobody is measured: who starves from the first moment on has to be known. */
static __always_inline void begin(struct task_struct *p)
{
	struct measured *now = measured();
	struct wait *wait;
	bool of_workload;

	if (!p->pid || !now)
		return;
	of_workload = now->cgroup && p->cgroups->dfl_cgrp->kn->id == now->cgroup;
	if (!of_workload && p->prio < MAX_RT_PRIO)
		return;
	wait = wait_of(p);
	if (!wait || wait->since_ns)
		return;
	wait->pid = p->pid;
	wait->of_workload = of_workload;
	wait->since_ns = bpf_ktime_get_ns();
}

static __always_inline __u32 log2_of(__u64 v)
{
	__u32 r = 0;

	if (v >> 32) { v >>= 32; r += 32; }
	if (v >> 16) { v >>= 16; r += 16; }
	if (v >> 8) { v >>= 8; r += 8; }
	if (v >> 4) { v >>= 4; r += 4; }
	if (v >> 2) { v >>= 2; r += 2; }
	return r + (v >> 1 ? 1 : 0);
}

/* Below 2^FINE_BITS ns, where an octave has fewer values than buckets, all waits count in
 * the first bucket of the octave at 2^FINE_BITS.
 */
static __always_inline void count_finely(__u64 ns)
{
	__u32 octave, bucket;
	__u64 *counted;

	if (ns < 1 << FINE_BITS)
		ns = 1 << FINE_BITS;
	octave = log2_of(ns);
	bucket = octave >= OCTAVES ? FINE_BUCKETS - 1 :
		 (octave << FINE_BITS) +
		 ((ns >> (octave - FINE_BITS)) & ((1 << FINE_BITS) - 1));
	counted = bpf_map_lookup_elem(&schedlat_fine, &bucket);
	if (counted)
		(*counted)++;
}

static __always_inline void count(__u64 ns, bool of_workload)
{
	__u32 first = 0, octave, bucket;
	struct histogram *h = bpf_map_lookup_elem(&schedlat_hist, &first);

	if (!h)
		return;
	if (!of_workload) {
		if (ns > h->system_max_ns)
			h->system_max_ns = ns;
		return;
	}
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	count_finely(ns);
	if (ns < 4)
		ns = 4;	/* the first octave that has four buckets */
	octave = log2_of(ns);
	bucket = octave >= OCTAVES ? BUCKETS - 1 :
		 4 * octave + ((ns >> (octave - 2)) & 3);
	if (bucket < BUCKETS)
		h->buckets[bucket]++;
}

static __always_inline void end(struct task_struct *p)
{
	struct wait *wait = wait_of(p);
	struct measured *now;
	__u64 since;

	if (!wait || !wait->since_ns || wait->pid != p->pid)
		return;
	since = wait->since_ns;
	wait->since_ns = 0;
	now = measured();
	if (!now || !now->cgroup)
		return;
	if (since < now->from_ns)
		since = now->from_ns;
	count(bpf_ktime_get_ns() - since, wait->of_workload);
}

/* One that still runs does not wait, though somebody wakes it. */
static __always_inline void woken(struct task_struct *p)
{
	if (!p->on_cpu)
		begin(p);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(schedlat_wakeup, struct task_struct *p)
{
	woken(p);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(schedlat_wakeup_new, struct task_struct *p)
{
	woken(p);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(schedlat_switch, bool preempt, struct task_struct *prev,
	     struct task_struct *next, unsigned int prev_state)
{
	struct wait *wait = wait_of(prev);

	if (wait && wait->pid == prev->pid)
		wait->since_ns = 0;
	if (preempt || !prev_state)
		begin(prev);
	end(next);
	return 0;
}

/* Read once: who waits already, since before anybody looked, begins to wait now. */
SEC("iter/task")
int schedlat_seed(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;

	if (p && p->on_rq == 1 /* TASK_ON_RQ_QUEUED */ && !p->__state)
		woken(p);
	return 0;
}
