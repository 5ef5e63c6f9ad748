/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The names of the clean-up strategies, and which one this object is. Only the test
 * variant defines TREATMENT; without it there is no clean-up, whatever was asked for.
 */
#ifndef SCXLAB_STRATEGY_BPF_H
#define SCXLAB_STRATEGY_BPF_H

#define CLEANUP_NONE 0
#define CLEANUP_SCAN 1
#define CLEANUP_KFUNC 2
#define CLEANUP_TIMER 3
#define CLEANUP_EXIT 4
#define CLEANUP_LRU 5
#define CLEANUP_STORAGE 6

#if !defined(TREATMENT) || !TREATMENT
#undef CLEANUP
#define CLEANUP CLEANUP_NONE
#endif

#ifndef CLEANUP
#error "the test variant needs a strategy: -DCLEANUP=CLEANUP_..."
#endif

#define ORDER_IS_USED (CLEANUP == CLEANUP_SCAN || CLEANUP == CLEANUP_TIMER)

#endif
