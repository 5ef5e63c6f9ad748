# SPDX-License-Identifier: GPL-2.0-only
"""The shape of the values of runs: outliers, and two groups."""

from __future__ import annotations

import numpy as np

from analysis.stats.estimators import Array, present

#: Of the modified z-score: B. Iglewicz and D. C. Hoaglin, "How to detect and handle
#: outliers", 1993.
_FAR = 3.5
_SCALE = 0.6745
#: Fewer values have no shape.
_FEWEST = 8
#: A gap this wide, as a share of the range, parts two groups...
_GAP = 0.4
#: ... of which each has at least such a share of the values.
_LEAST_GROUP = 0.25


def outliers(values: Array) -> Array:
    """Return the values that lie much farther from the median than others do."""
    (values,) = present(values)
    if len(values) < _FEWEST:
        return values[:0]
    away = np.abs(values - np.median(values))
    spread = float(np.median(away))
    if spread == 0:
        return values[:0]
    return values[_SCALE * away / spread > _FAR]


def has_two_modes(values: Array) -> bool:
    """Return whether a wide gap parts the values into two groups of some size."""
    (values,) = present(values)
    if len(values) < _FEWEST:
        return False
    ordered = np.sort(values)
    gaps = np.diff(ordered)
    widest = int(np.argmax(gaps))
    below = (widest + 1) / len(ordered)
    is_wide = gaps[widest] > _GAP * (ordered[-1] - ordered[0])
    return bool(is_wide and _LEAST_GROUP <= below <= 1 - _LEAST_GROUP)
