# SPDX-License-Identifier: GPL-2.0-only
"""A guest: QEMU, its file servers, its accelerator.

Others use: accel, guest.
"""
