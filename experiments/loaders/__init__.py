# SPDX-License-Identifier: GPL-2.0-only
"""Ways of putting a scheduler into the kernel; every module exposes LOADER.

Others use: none of its modules by name.
"""
