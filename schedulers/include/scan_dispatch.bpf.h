/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Has scan_run(), which is defined before, called from ops.dispatch: once a period, on one
 * CPU at a time.
 */
#ifndef SCXLAB_SCAN_DISPATCH_BPF_H
#define SCXLAB_SCAN_DISPATCH_BPF_H

#define cleanup_dispatch cleanup_dispatch

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

#endif
