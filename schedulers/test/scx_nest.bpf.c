// SPDX-License-Identifier: GPL-2.0-only
#define TREATMENT 1
#include "../control/scx_nest.bpf.c"
