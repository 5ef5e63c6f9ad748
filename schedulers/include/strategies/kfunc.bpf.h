/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kfunc: scx_bpf_map_scan_timeout() from ops.dispatch, by our module
 *
 * Reads: period_ms, budget_us, max_age_ms
 * Needs: census
 *
 * scx_bpf_map_scan_timeout() of the module in schedulers/module, or of a kernel that has
 * it, called from ops.dispatch as `scan` is. The module scans for 10 ms at the most, and no
 * map of more than 65536 buckets: settings beyond that do not compile. Where the scan is
 * refused all the same, the scheduler ends with an error that says so: without its clean-up
 * it would be another control.
 */
#include "scan_common.bpf.h"

_Static_assert(MAX_ENTRIES <= 1 << 16,
	       "kfunc scans maps of 65536 max_entries at the most: take another strategy");
_Static_assert(BUDGET_NS <= 10 * NSEC_PER_MSEC,
	       "kfunc scans for a budget_us of 10000 at the most");

/* Returns 0, -ETIMEDOUT when the budget ended the scan, -EBUSY when another CPU scans. */
int scx_bpf_map_scan_timeout(struct bpf_map *map, u64 timeout_ns, u64 max_age_ns,
			     u32 *evicted) __ksym;

#define ETIMEDOUT 110
#define EBUSY 16

static __always_inline void scan_refused(int ret)
{
	static char fmt[] = "scx_bpf_map_scan_timeout() refuses the map: error %d";
	unsigned long long data[] = { ret };

	scx_bpf_error_bstr(fmt, data, sizeof(data));
}

static __noinline bool scan_run(u64 now)
{
	u32 evicted = 0;
	int ret = scx_bpf_map_scan_timeout((struct bpf_map *)&tasks, BUDGET_NS,
					   MAX_AGE_NS, &evicted);

	COUNT(evicted, evicted);
	if (ret == -EBUSY)
		COUNT(refused, 1);
	else if (ret && ret != -ETIMEDOUT)
		scan_refused(ret);
	else
		count_scan(bpf_ktime_get_ns() - now, ret == -ETIMEDOUT);
	return ret == -ETIMEDOUT;
}

#include "scan_dispatch.bpf.h"
