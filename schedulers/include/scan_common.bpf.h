/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the strategies that scan have in common: their settings, and how a scan counts.
 */
#ifndef SCXLAB_SCAN_COMMON_BPF_H
#define SCXLAB_SCAN_COMMON_BPF_H

#include "task_state.bpf.h"

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

#endif
