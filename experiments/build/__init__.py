# SPDX-License-Identifier: GPL-2.0-only
"""Compile schedulers and tools with the compilers of the lab root.

Others use: builder.
"""
