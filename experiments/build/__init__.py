# SPDX-License-Identifier: GPL-2.0-only
"""Sources become objects, by the compilers of the lab root.

Others use: builder.
"""
