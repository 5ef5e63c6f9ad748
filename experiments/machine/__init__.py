# SPDX-License-Identifier: GPL-2.0-only
"""The machine that measures: what it is, its settings, the consent of its user.

Others use: caller, consent, facts, settings, stale_state, tuning, watchdog.
"""
