# SPDX-License-Identifier: GPL-2.0-only
"""Where the agent runs: each module without an underscore exposes BACKEND.

The registry loads them by their names. Besides, `bench` lays siege to one.

Others use: vm.
"""
