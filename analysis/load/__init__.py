# SPDX-License-Identifier: GPL-2.0-only
"""From the files of an experiment to tables.

Others use: cache, flat_facts, frames, measures, run_measures, summary, tidy, variants,
waits.
"""
