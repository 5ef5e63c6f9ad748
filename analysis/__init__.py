# SPDX-License-Identifier: GPL-2.0-only
"""What the results say: offline, without root, from files alone."""
