/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ways of removing the entries of tasks that are gone. A scheduler calls task_record_get(),
 * record_exit() (task_state.bpf.h), cleanup_init() and cleanup_dispatch() at their places;
 * which of them does something is decided by the strategy, a file of strategies/.
 *
 * Limits: age is no proof of death. With scan, timer and kfunc, a task that sleeps
 * longer than max_age loses its record and starts with a fresh one when it wakes; with
 * lru so does one that others have crowded out. A record that is refreshed between the
 * check of its age and its deletion is lost the same way. Dispatch is not called on a CPU
 * whose task has no competitor, so there the period is a lower bound. scan and timer read
 * the clock after each entry: the budget is overrun by one entry, or by what an
 * interrupt or the hypervisor takes.
 */
#ifndef SCXLAB_CLEANUP_BPF_H
#define SCXLAB_CLEANUP_BPF_H

#include "strategy.bpf.h"
#include "task_state.bpf.h"

/* What the strategy has not defined does nothing. */

#ifndef cleanup_dispatch
static __always_inline void cleanup_dispatch(void) {}
#endif

#ifndef cleanup_init
static __always_inline s32 cleanup_init(void)
{
	return 0;
}
#endif

#ifndef cleanup_exit
static __always_inline void cleanup_exit(struct task_struct *p) {}
#endif

#endif
