// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live elements of every BPF map, in O(CPUs) a map: what a hash map counts of its own
 * insertions and deletions, without a walk. Reading the pinned iterator to its end
 * yields one struct map_count a map.
 *
 * Limits: bpf_map_sum_elem_count() exists since Linux 6.6 and counts hash maps of all
 * kinds; other maps have no such counter and read 0. The per-CPU sums are not taken at
 * one instant, so under concurrent updates the count is off by those in flight.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

struct map_count {
	__u32 id;
	__u32 type;
	__u32 max_entries;
	__u32 pad;
	__s64 entries;
};

extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

SEC("iter/bpf_map")
int mapcount(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	struct map_count count = {};

	if (!map)
		return 0;
	count.id = map->id;
	count.type = map->map_type;
	count.max_entries = map->max_entries;
	count.entries = bpf_map_sum_elem_count(map);
	bpf_seq_write(ctx->meta->seq, &count, sizeof(count));
	return 0;
}
