# SPDX-License-Identifier: GPL-2.0-only
"""Where the agent runs: each module without an underscore exposes BACKEND.

No other room imports them: the registry loads them by their names.
"""
