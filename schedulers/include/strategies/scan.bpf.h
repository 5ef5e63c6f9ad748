/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scan: budgeted scan from ops.dispatch that goes on where it stopped
 *
 * Reads: period_ms, budget_us, max_age_ms
 *
 * From ops.dispatch, once a period, on one CPU at a time and within a time budget:
 * entries not seen for max_age are evicted.
 */
#include "scan_queue.bpf.h"
#include "scan_dispatch.bpf.h"
