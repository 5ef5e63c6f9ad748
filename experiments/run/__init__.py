# SPDX-License-Identifier: GPL-2.0-only
"""Do the runs of a plan: blocks, lanes, attempts, progress, status.

Others use: attempts, block_queue, lanes, prepare, progress, runner, status.
"""
