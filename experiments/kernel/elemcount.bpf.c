// SPDX-License-Identifier: GPL-2.0-only
/*
 * Elements of one BPF map, by a walk within the kernel: O(elements), nothing is copied
 * out. The map is named when the iterator is pinned (bpftool iter pin OBJ PATH map id N).
 *
 * The sum of all records of one reading is the count. Nothing is kept between two
 * readings, so readers do not disturb each other: seq_num is the number of the element
 * that is shown, from 0, and still that of the last one when the walk is over. With an
 * empty map it is 0 then, too; hence one record with the first element.
 *
 * Limits: iter/bpf_map_elem exists since Linux 5.9, for hash maps and arrays. A reading
 * that shows a million elements ends early (MAX_ITER_OBJECTS), with EAGAIN if no record
 * was written in it: go on reading. Elements that come or go during the walk are
 * counted or not.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

SEC("iter/bpf_map_elem")
int elemcount(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 part = ctx->meta->seq_num;

	if (ctx->key) {
		if (part)
			return 0;
		part = 1;
	}
	bpf_seq_write(ctx->meta->seq, &part, sizeof(part));
	return 0;
}
