# SPDX-License-Identifier: GPL-2.0-only
"""Places where the agent runs, one module each; every one exposes BACKEND.

Others use: none of its modules by name.
"""
