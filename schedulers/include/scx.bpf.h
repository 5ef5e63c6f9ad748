/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a sched_ext program needs of the kernel, declared here and not taken from
 * vmlinux.h: the prototypes pahole derives from BTF differ between kernels (they grew
 * implicit arguments), the calls do not. Compatibility is by symbol, not by version.
 *
 * Tried on Linux 7.2; the older names are those of 6.13 to 6.18.
 */
#ifndef SCXLAB_SCX_BPF_H
#define SCXLAB_SCX_BPF_H

#define BPF_NO_KFUNC_PROTOTYPES
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL

/* CPUs that a scheduler with per-CPU state can deal with, a power of two; it refuses to
 * load where there are more.
 */
#define MAX_CPUS 1024
#define E2BIG 7

_Static_assert(MAX_CPUS >= 1 && MAX_CPUS <= 8192 && !(MAX_CPUS & (MAX_CPUS - 1)),
	       "MAX_CPUS");

/* A task that waits for so long has the kernel's watchdog throw the scheduler out. The
 * kernel's own limit, 30000, lets a task starve for as long as most runs last.
 */
#ifndef TIMEOUT_MS
#define TIMEOUT_MS 5000
#endif
_Static_assert(TIMEOUT_MS >= 1 && TIMEOUT_MS <= 30000, "TIMEOUT_MS");

/* Local twin of the argument block that the vtime insertion takes since 6.19. */
struct scx_bpf_dsq_insert_vtime_args___lab {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
};

s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
			   bool *is_idle) __ksym;
void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice,
			u64 enq_flags) __ksym;
bool scx_bpf_dsq_move_to_local(u64 dsq_id) __ksym;
s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym;
u32 scx_bpf_nr_cpu_ids(void) __ksym;
s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *cpus_allowed, u64 flags) __ksym;
bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym;
bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym __weak;
struct task_struct *scx_bpf_dsq_peek(u64 dsq_id) __ksym __weak;
void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;
void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;
bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *cpumask) __ksym;
struct cgroup *scx_bpf_task_cgroup(struct task_struct *p) __ksym;
struct cgroup *bpf_cgroup_ancestor(struct cgroup *cgrp, int level) __ksym;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym;
bool __scx_bpf_dsq_insert_vtime(struct task_struct *p,
				struct scx_bpf_dsq_insert_vtime_args___lab *args)
				__ksym __weak;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice,
			      u64 vtime, u64 enq_flags) __ksym __weak;

static __always_inline void insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice,
					 u64 vtime, u64 enq_flags)
{
	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime)) {
		struct scx_bpf_dsq_insert_vtime_args___lab args = {
			.dsq_id = dsq_id,
			.slice = slice,
			.vtime = vtime,
			.enq_flags = enq_flags,
		};

		__scx_bpf_dsq_insert_vtime(p, &args);
	} else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime)) {
		scx_bpf_dsq_insert_vtime(p, dsq_id, slice, vtime, enq_flags);
	}
}

/* For tasks that are queued where no idle CPU was looked for, or before one became idle. */
static __always_inline void kick_idle_cpu(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

static __always_inline bool time_before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

#endif
