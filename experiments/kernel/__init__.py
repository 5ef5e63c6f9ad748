# SPDX-License-Identifier: GPL-2.0-only
"""Typed windows on Linux: they report what the kernel says and decide nothing."""
