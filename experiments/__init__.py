# SPDX-License-Identifier: GPL-2.0-only
"""Controlled experiments on Linux schedulers."""

__version__ = "0.1.0"
