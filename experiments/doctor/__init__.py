# SPDX-License-Identifier: GPL-2.0-only
"""What a machine lacks, why a scheduler does not load, what was left behind.

Others use: examine.
"""
