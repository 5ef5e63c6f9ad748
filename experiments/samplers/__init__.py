# SPDX-License-Identifier: GPL-2.0-only
"""What fills the columns of a sample, one class a module.

Others use: bpf_map, counters.
"""
