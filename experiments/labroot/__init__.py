# SPDX-License-Identifier: GPL-2.0-only
"""The Debian that supplies compilers, tools and guests; the kernels that are booted.

Others use: cell, host_toolchain, kernel_image, lab_root, make.
"""
