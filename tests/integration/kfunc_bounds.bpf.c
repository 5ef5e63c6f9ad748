// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module of the strategy kfunc does when more is asked of it than it gives. Each
 * ends with an error that says it.
 *
 * BOUND=1: a scan of many stale entries, for a second.
 * BOUND=2: the strategy with a map that is too large, which does not compile otherwise.
 */
#define _Static_assert(condition, words)
#include "cleanup.bpf.h"

char _license[] SEC("license") = "GPL";

#define MANY 65536

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MANY);
	__type(key, u32);
	__type(value, u64);
} many SEC(".maps");

static long put(u64 index, void *unused)
{
	u32 key = index;
	u64 stamp = 1;

	return bpf_map_update_elem(&many, &key, &stamp, BPF_ANY) != 0;
}

static __noinline void scan_for_a_second(void)
{
	static char fmt[] = "returned %d after %llu us, evicted %u of %u";
	u64 start;
	u32 evicted = 0;
	int ret;

	bpf_loop(MANY, put, NULL, 0);
	start = bpf_ktime_get_ns();
	ret = scx_bpf_map_scan_timeout((struct bpf_map *)&many, 1000 * NSEC_PER_MSEC, 1,
				       &evicted);
	u64 took = bpf_ktime_get_ns() - start;
	unsigned long long data[] = { ret, took / NSEC_PER_USEC, evicted, MANY };

	scx_bpf_error_bstr(fmt, data, sizeof(data));
}

SEC("struct_ops/bound_enqueue")
void BPF_PROG(bound_enqueue, struct task_struct *p, u64 enq_flags)
{
	task_record_get(p);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/bound_dispatch")
void BPF_PROG(bound_dispatch, s32 cpu, struct task_struct *prev)
{
	cleanup_dispatch();
}

SEC("struct_ops.s/bound_init")
s32 BPF_PROG(bound_init)
{
	if (BOUND == 1)
		scan_for_a_second();
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops bound_ops = {
	.enqueue	= (void *)bound_enqueue,
	.dispatch	= (void *)bound_dispatch,
	.init		= (void *)bound_init,
	.name		= OPS_NAME,
};
