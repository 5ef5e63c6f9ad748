# SPDX-License-Identifier: GPL-2.0-only
"""How exact the values of a metric are, and what that does to an effect on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.stats.block_effect import blur_of, smallest_step
from analysis.stats.estimators import Array


def step_of(rows: pd.DataFrame) -> float:
    """Return the step to which values of a workload's metric are known.

    As the metric says, or as its values show; NaN where they show none. `rows` are of
    a tidy table.
    """
    if not len(rows) or rows["source"].iloc[0] != "workload":
        return 0.0
    said = rows["resolution"].to_numpy(dtype=float)
    values = rows["value"].to_numpy(dtype=float)
    return step_of_values(values, said)


def step_of_values(values: Array, resolutions: Array) -> float:
    """Return the step of values of which some say how fine they are."""
    if np.isfinite(resolutions).any():
        return float(np.nanmax(resolutions))
    return smallest_step(values)


def blur_of_arms(arms: Sequence[Array], step: float, kind: str) -> float:
    """Return how far the mean difference may be off, as a log ratio for ratios."""
    if not np.isfinite(step) or step <= 0:
        return 0.0
    sizes = [float(np.mean(a)) if kind == "ratio" else 1.0 for a in arms if len(a)]
    blurs = [blur_of(a, step) for a in arms if len(a)]
    return sum(b / size for b, size in zip(blurs, sizes, strict=True) if size > 0)
