# SPDX-License-Identifier: GPL-2.0-only
"""Time spans in words, for a person."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a span as `45 s`, `12 min`, `3 h 20 min` or `2 d 5 h`."""
    minutes = round(seconds / 60)
    hours = round(seconds / 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
