/* SPDX-License-Identifier: GPL-2.0-only */
/* As upstream's header of this name does, it has a scheduler write down why it ended. */
struct user_exit_info {
	int kind;
	s64 exit_code;
	char reason[128];
	char msg[1024];
};

/* The kind comes last, and in order: whoever sees it can read the rest. */
static __always_inline void note_exit(struct user_exit_info *uei, struct scx_exit_info *ei)
{
	bpf_probe_read_kernel_str(uei->reason, sizeof(uei->reason), ei->reason);
	bpf_probe_read_kernel_str(uei->msg, sizeof(uei->msg), ei->msg);
	uei->exit_code = ei->exit_code;
	__sync_lock_test_and_set(&uei->kind, ei->kind);
}
