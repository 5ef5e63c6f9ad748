# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks of scxlab itself.

Others use: aggregate, faults, harness, sampling, walls.
"""
