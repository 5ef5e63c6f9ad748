/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lru: BPF_MAP_TYPE_LRU_HASH: the kernel evicts
 *
 * Reads: lru_entries
 * Needs: census
 *
 * When the map is full.
 */
#define TASKS_ARE_LRU 1
