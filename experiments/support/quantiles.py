# SPDX-License-Identifier: GPL-2.0-only
"""Percentiles of plain numbers, without NumPy, which a guest does not have.

What is counted in a histogram has routines of its own: samplers/_histogram.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

#: Which value, where none has exactly so many below it; called as NumPy calls them.
#: The first three look at rank percent x (n - 1), "inverted_cdf" takes the least value
#: that so many percent of all are not above.
Method = Literal["linear", "lower", "higher", "inverted_cdf"]


def percentile(values: Sequence[float], percent: int, method: Method) -> float:
    """Return a percentile of `values`: one or more, in any order."""
    ordered = sorted(values)
    if method == "inverted_cdf":
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
    below, rest = divmod(percent * (len(ordered) - 1), 100)
    above = below + (rest > 0)
    if method == "linear":
        return (ordered[below] * (100 - rest) + ordered[above] * rest) / 100
    return ordered[below if method == "lower" else above]
