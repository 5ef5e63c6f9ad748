// SPDX-License-Identifier: GPL-2.0-only
/* fifo: all tasks in the queue of the kernel; in the style of upstream's schedulers. */
#include <scx/common.bpf.h>

char _license[] SEC("license") = "GPL";

SEC("struct_ops/fifo_enqueue")
void BPF_PROG(fifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops fifo_ops = {
	.enqueue	= (void *)fifo_enqueue,
	.name		= "fifo",
};
