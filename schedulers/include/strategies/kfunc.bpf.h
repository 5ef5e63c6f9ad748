/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kfunc: scx_bpf_map_scan_timeout() from ops.dispatch, by our module
 *
 * Reads: period_ms, budget_us, max_age_ms
 * Needs: census
 *
 * scx_bpf_map_scan_timeout() of the module in schedulers/module, or of a kernel that has
 * it, called from ops.dispatch as `scan` is.
 */
#include "scan_common.bpf.h"

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

#include "scan_dispatch.bpf.h"
