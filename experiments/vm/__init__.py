# SPDX-License-Identifier: GPL-2.0-only
"""A guest: QEMU, its file server, its accelerator.

Others use: accel, guest, qemu_command.
"""
