# SPDX-License-Identifier: GPL-2.0-only
"""Test against control, experiment against experiment, and when to stop.

Others use: between_experiments, effect, noise, overhead, regression_gate,
stopping_rule, within_experiment.
"""
