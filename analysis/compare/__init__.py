# SPDX-License-Identifier: GPL-2.0-only
"""Test against control, experiment against experiment, and when to stop."""
