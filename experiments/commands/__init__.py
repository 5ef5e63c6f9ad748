# SPDX-License-Identifier: GPL-2.0-only
"""What a user types; tasks.py is their skin."""
