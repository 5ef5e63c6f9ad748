# SPDX-License-Identifier: GPL-2.0-only
"""Ways of putting a scheduler into the kernel: each module exposes LOADER.

No other room imports them: the registry loads them by their names.
"""
