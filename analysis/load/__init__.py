# SPDX-License-Identifier: GPL-2.0-only
"""From the files of an experiment to tables.

Others use: arm_outcomes, cache, flat_facts, frames, measures, summary, tidy, variants,
waits.
"""
