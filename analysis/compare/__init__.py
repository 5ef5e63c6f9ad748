# SPDX-License-Identifier: GPL-2.0-only
"""Set test against control, and experiment against experiment; tell when to stop.

Others use: between_experiments, effect, looks, missing_evidence, noise, overhead,
regression_gate, stopping_rule, within_experiment.
"""
