/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * timer: the scan from a bpf_timer, off the hot path
 *
 * Reads: period_ms, budget_us, max_age_ms
 *
 * The same scan from a bpf_timer, without a run queue's lock; a tenth of the period later
 * already while the budget runs out.
 */
#include "scan_queue.bpf.h"

#define cleanup_init cleanup_init

#define CLOCK_MONOTONIC 1

struct scan_timer {
	struct bpf_timer timer;
};

/* The kernel cancels the timers of a map that nobody holds: whoever loads this has to stay,
 * as the agent does, or to pin the map.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
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
