# SPDX-License-Identifier: GPL-2.0-only
"""What is claimed of an experiment, and whether it holds.

Others use: answer, criteria, findings, growth, memory, status.
"""
