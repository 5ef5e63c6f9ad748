# SPDX-License-Identifier: GPL-2.0-only
"""The Debian that builds and guests live in, and the kernels they boot.

Others use: host_toolchain, kernel_image, lab_root, make.
"""
