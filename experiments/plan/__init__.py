# SPDX-License-Identifier: GPL-2.0-only
"""What is to be run: config.yaml and flags become a Plan. Nothing is run here.

Others use: blocks, config, generated, knobs, scheduler_source.
"""
