// SPDX-License-Identifier: GPL-2.0-only
/*
 * A scheduler that goes wrong on purpose, to see what the agent makes of it.
 *
 * FAULT=1: reports an error of its own after a second.
 * FAULT=2: loses every second task after a second, until the watchdog notices.
 * FAULT=3: follows a pointer that may be NULL, which the verifier refuses.
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

SEC("struct_ops/fault_enqueue")
void BPF_PROG(fault_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool late = bpf_ktime_get_ns() - start_ns > 1000 * NSEC_PER_MSEC;

	if (FAULT == 1 && late) {
		static char fmt[] = "the fault that was asked for, by pid %d";
		unsigned long long data[] = { p->pid };

		scx_bpf_error_bstr(fmt, data, sizeof(data));
	}
	if (FAULT == 2 && late && !(p->flags & 0x00200000 /* PF_KTHREAD */) && p->pid & 1)
		return;
	if (FAULT == 3) {
		u32 pid = p->pid;
		u64 *value = bpf_map_lookup_elem(&tasks, &pid);

		*value = 1;
	}
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, 20 * NSEC_PER_MSEC, enq_flags);
}

SEC("struct_ops.s/fault_init")
s32 BPF_PROG(fault_init)
{
	start_ns = bpf_ktime_get_ns();
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops fault_ops = {
	.enqueue	= (void *)fault_enqueue,
	.init		= (void *)fault_init,
	.timeout_ms	= 2000,
	.name		= OPS_NAME,
};
