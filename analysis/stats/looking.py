# SPDX-License-Identifier: GPL-2.0-only
"""How often results may have been looked at before they are judged, and its price."""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.stats.confidence_sequence import confidence_sequence, half_width_in_sd
from analysis.stats.estimators import Array, Interval, t_half_width_in_sd, t_interval
from analysis.stats.group_sequential import nominal_alpha

ONCE, PLANNED, ANY_TIME = "once", "at planned looks", "at any time"


@dataclass(frozen=True)
class Looking:
    """When results are looked at: once, or ``looks`` times, every ``size`` blocks.

    At any time, the number of blocks may depend on whatever was seen.
    """

    kind: str = ONCE
    looks: int = 1
    size: int = 0

    def half_width(self, blocks: int, level: float) -> float:
        """Return half an interval's width, in standard deviations (over n)."""
        if blocks < 2:
            return math.inf
        if self.kind == ANY_TIME:
            return half_width_in_sd(blocks, level)
        return t_half_width_in_sd(blocks, self.nominal_level(level))

    def nominal_level(self, level: float) -> float:
        """Return the level of a single t interval."""
        if self.kind != PLANNED:
            return level
        return 1 - nominal_alpha(self.looks, 1 - level)

    def look_after(self, blocks: int) -> int:
        """Return the number of the look after so many blocks, from 1."""
        return min(max(math.ceil(blocks / max(self.size, 1)), 1), self.looks)

    def interval(self, values: Array, level: float) -> Interval:
        """Return the mean of `values` with its interval."""
        if self.kind == ANY_TIME:
            return confidence_sequence(values, level)
        return t_interval(values, self.nominal_level(level))


FIXED = Looking()
