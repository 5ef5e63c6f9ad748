# SPDX-License-Identifier: GPL-2.0-only
"""Typed wrappers of kernel interfaces; they decide nothing.

Others use: bpf, bpf_object, btf, cgroup, clock, integers, kmsg, libbpf, map_count,
proc_connector, procfs, sched_ext, scratch_map, scx_dump.
"""
