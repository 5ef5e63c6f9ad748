// SPDX-License-Identifier: GPL-2.0-only
/*
 * A scheduler that goes wrong on purpose, to see what the agent makes of it.
 *
 * FAULT=1: reports an error of its own after a second.
 * FAULT=2: loses every second task after a second, until the watchdog notices.
 * FAULT=3: follows a pointer that may be NULL, which the verifier refuses.
 * FAULT=4: loses kcompactd, whom nobody misses.
 * FAULT=5: holds busy tasks of user space back for two seconds, once.
 */
#include "scx.bpf.h"

char _license[] SEC("license") = "GPL";

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} tasks SEC(".maps");

u64 start_ns;

#define HELD 77ULL
#define OTHERS 78ULL
#define HELD_MS 2000
#define BUSY_MS 300
#define PF_KTHREAD 0x00200000

u64 held_since_ns;

static bool is_over(void)
{
	return held_since_ns &&
	       bpf_ktime_get_ns() - held_since_ns >= HELD_MS * NSEC_PER_MSEC;
}

/* The first one begins the time of all. */
static bool is_held(struct task_struct *p)
{
	if (p->flags & PF_KTHREAD || is_over() ||
	    p->se.sum_exec_runtime < BUSY_MS * NSEC_PER_MSEC)
		return false;
	if (!held_since_ns)
		held_since_ns = bpf_ktime_get_ns();
	return true;
}

static bool is_lost(struct task_struct *p)
{
	return p->comm[0] == 'k' && p->comm[1] == 'c' && p->comm[2] == 'o' &&
	       p->comm[3] == 'm' && p->comm[4] == 'p';
}

#if FAULT >= 4
/* Without it the kernel gives a task that wakes to an idle CPU, and asks nobody. */
SEC("struct_ops/fault_select_cpu")
s32 BPF_PROG(fault_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu;
}
#endif

SEC("struct_ops/fault_enqueue")
void BPF_PROG(fault_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool late = bpf_ktime_get_ns() - start_ns > 1000 * NSEC_PER_MSEC;

	if (FAULT == 1 && late) {
		static char fmt[] = "the fault that was asked for, by pid %d";
		unsigned long long data[] = { p->pid };

		scx_bpf_error_bstr(fmt, data, sizeof(data));
	}
	if (FAULT == 2 && late && !(p->flags & PF_KTHREAD) && p->pid & 1)
		return;
	if (FAULT == 4 && is_lost(p))
		return;
	if (FAULT == 5 && is_held(p)) {
		scx_bpf_dsq_insert(p, HELD, 20 * NSEC_PER_MSEC, enq_flags);
		return;
	}
	if (FAULT == 3) {
		u32 pid = p->pid;
		u64 *value = bpf_map_lookup_elem(&tasks, &pid);

		*value = 1;
	}
	scx_bpf_dsq_insert(p, FAULT == 5 ? OTHERS : SCX_DSQ_GLOBAL, 20 * NSEC_PER_MSEC, enq_flags);
}

SEC("struct_ops/fault_dispatch")
void BPF_PROG(fault_dispatch, s32 cpu, struct task_struct *prev)
{
	if (FAULT != 5)
		return;
	if (is_over() && scx_bpf_dsq_move_to_local(HELD))
		return;
	scx_bpf_dsq_move_to_local(OTHERS);
}

SEC("struct_ops.s/fault_init")
s32 BPF_PROG(fault_init)
{
	start_ns = bpf_ktime_get_ns();
	if (FAULT != 5)
		return 0;
	return scx_bpf_create_dsq(HELD, -1) ?: scx_bpf_create_dsq(OTHERS, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops fault_ops = {
#if FAULT >= 4
	.select_cpu	= (void *)fault_select_cpu,
#endif
	.enqueue	= (void *)fault_enqueue,
	.dispatch	= (void *)fault_dispatch,
	.init		= (void *)fault_init,
	.timeout_ms	= FAULT < 4 ? 2000 : 30000,
	.name		= OPS_NAME,
};
