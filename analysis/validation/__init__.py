# SPDX-License-Identifier: GPL-2.0-only
"""How often the verdicts err, by simulated experiments whose truth is known.

Others use: error_rates.
"""
