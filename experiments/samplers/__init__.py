# SPDX-License-Identifier: GPL-2.0-only
"""Fill columns of the CSV files, and yield facts and metrics; one class a module.

Others use: bpf_map, counters, forks.
"""
