// SPDX-License-Identifier: GPL-2.0-only
/*
 * tick: all tasks in the queue of the kernel; in the style of upstream's scx_nest, with
 * what such a scheduler needs of its loader:
 *
 * - a bpf_timer in a map that is not pinned, which the kernel cancels as soon as nobody
 *   holds the map. It shows that it is alive by entries of `ticks`, some with each tick;
 * - settings in read-only data, which nobody can set once the object is loaded;
 * - constants of the kernel as weak variables;
 * - the reason of its end in a struct that user space reads.
 *
 * Limits: no fairness but that of equal slices. With fail_after it reports an error after
 * so many ticks; with REFUSED the verifier refuses it.
 */
#include <scx/common.bpf.h>
#include <scx/user_exit_info.h>

char _license[] SEC("license") = "GPL";

#define CLOCK_MONOTONIC 1
#define TICK_NS (100 * 1000 * 1000ULL)
#define PER_TICK_AT_MOST 8

const volatile u64 slice_ns;
const volatile u32 per_tick = 1;
const volatile s32 fail_after = -1;
const volatile bool unused;
const volatile u32 nr_cpu_ids = 1; /* not 0 for the verifier; the loader sets it */

struct user_exit_info uei SEC(".data");

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;

struct ticker {
	struct bpf_timer timer;
	u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME); /* which the loader must not do */
	__type(key, u32);
	__type(value, struct ticker);
} itest_tickers SEC(".maps");

/* The value is what the program sees of its settings. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} ticks SEC(".maps");

static void maybe_fail(u64 count)
{
	static char fmt[] = "asked to fail: slice %llu, CPUs %llu";
	unsigned long long args[] = { slice_ns, nr_cpu_ids };

	if (fail_after >= 0 && count >= fail_after)
		scx_bpf_error_bstr(fmt, args, sizeof(args));
}

static int tick(void *map, u32 *key, struct ticker *ticker)
{
	for (u32 i = 0; i < PER_TICK_AT_MOST && i < per_tick; i++) {
		u64 number = ticker->count * PER_TICK_AT_MOST + i;
		u64 seen = slice_ns;

		bpf_map_update_elem(&ticks, &number, &seen, BPF_ANY);
	}
	ticker->count++;
	maybe_fail(ticker->count);
	bpf_timer_start(&ticker->timer, TICK_NS, 0);
	return 0;
}

SEC("struct_ops/tick_enqueue")
void BPF_PROG(tick_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, slice_ns ?: SCX_SLICE_DFL, enq_flags);
}

SEC("struct_ops.s/tick_init")
s32 BPF_PROG(tick_init)
{
	u32 key = 0;
	struct ticker *ticker = bpf_map_lookup_elem(&itest_tickers, &key);
	long err;

	if (!ticker)
		return -1;
#ifdef REFUSED
	key = *(volatile u32 *)ticker->count;
#endif
	err = bpf_timer_init(&ticker->timer, &itest_tickers, CLOCK_MONOTONIC);
	if (!err)
		err = bpf_timer_set_callback(&ticker->timer, tick);
	if (!err)
		err = bpf_timer_start(&ticker->timer, TICK_NS, 0);
	return err;
}

SEC("struct_ops/tick_exit")
void BPF_PROG(tick_exit, struct scx_exit_info *ei)
{
	note_exit(&uei, ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops tick_ops = {
	.enqueue	= (void *)tick_enqueue,
	.init		= (void *)tick_init,
	.exit		= (void *)tick_exit,
	.timeout_ms	= 4000,
	.name		= "tick",
};
