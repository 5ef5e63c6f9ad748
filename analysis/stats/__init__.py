# SPDX-License-Identifier: GPL-2.0-only
"""Estimates, intervals and tests of significance: numbers in, numbers out.

Others use: block_effect, confidence_sequence, estimators, looking, power, shape,
significance.
"""
