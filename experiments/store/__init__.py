# SPDX-License-Identifier: GPL-2.0-only
"""Results on disk: their layout, their schema, checking, merging, importing them.

Others use: comparable, event_log, experiment, legacy_import, machine_facts, merge,
schema, verify.
"""
