/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which clean-up strategy this object has: the file of strategies/ that -DCLEANUP names.
 * Only the test variant defines TREATMENT; without it there is no clean-up, whatever was
 * asked for.
 */
#ifndef SCXLAB_STRATEGY_BPF_H
#define SCXLAB_STRATEGY_BPF_H

#if !defined(TREATMENT) || !TREATMENT
#undef CLEANUP
#define CLEANUP none
#endif

#ifndef CLEANUP
#error "the test variant needs a strategy: -DCLEANUP=..."
#endif

#define STRATEGY_QUOTED(path) #path
#define STRATEGY_FILE(path) STRATEGY_QUOTED(path)

#include STRATEGY_FILE(strategies/CLEANUP.bpf.h)

#endif
