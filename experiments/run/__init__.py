# SPDX-License-Identifier: GPL-2.0-only
"""The runs of a plan are done: blocks, attempts, progress, status.

Others use: attempts, block_queue, lanes, prepare, progress, runner, status.
"""
