# SPDX-License-Identifier: GPL-2.0-only
"""Statistics by scipy and pandas: pure functions of arrays.

Growth is a Theil-Sen slope (the median of the slopes between all pairs of samples), so
that a burst or a late sample does not decide it. Source of the interval within a run:
P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.

The pairs of n samples are n(n-1)/2: of a run with more than MOST_POINTS samples, that
many are taken, evenly spaced and with both ends.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


class Interval(NamedTuple):
    """An estimate and the ends of its interval; NaN ends when there is none."""

    estimate: float
    low: float
    high: float


class Summary(NamedTuple):
    """One quantity over runs; the interval is of the mean, None with fewer than 2."""

    n: int
    median: float
    minimum: float
    maximum: float
    mean: float
    ci: tuple[float, float] | None


#: More samples than this do not make a slope better known than runs differ, and cost
#: four times as much for twice as many.
MOST_POINTS = 64

NOTHING = Interval(np.nan, np.nan, np.nan)


def present(*arrays: Array) -> tuple[Array, ...]:
    """Return the arrays without the places at which any of them is NaN."""
    keep = np.isfinite(arrays[0])
    for array in arrays[1:]:
        keep &= np.isfinite(array)
    return arrays if keep.all() else tuple(a[keep] for a in arrays)


def theil_sen(x: Array, y: Array, level: float = 0.95) -> Interval:
    """Return the slope of `y` against `x` with its interval at `level`.

    NOTHING with fewer than 3 points, or when all are at the same `x`. The numbers are
    those of scipy.stats.theilslopes() of the same points, which sorts all slopes where
    four of them are needed: a test holds the two against each other.
    """
    x, y = present(x, y)
    at = evenly(len(x), MOST_POINTS)
    x, y = x[at], y[at]
    if len(x) < 3 or np.ptp(x) == 0:
        return NOTHING
    run, rise = _differences(x), _differences(y)
    there = run != 0
    slopes = rise / run if there.all() else rise[there] / run[there]
    n = len(slopes)
    half = _quantile(level) * math.sqrt(_variance(x, y)) / 2
    low = max(round(n / 2 - half) - 1, 0)
    high = min(round(n / 2 + half), n - 1)
    slopes.sort()  # where NumPy has vector instructions for it, faster than partition()
    estimate = (slopes[(n - 1) // 2] + slopes[n // 2]) / 2
    return Interval(float(estimate), float(slopes[low]), float(slopes[high]))


@lru_cache
def evenly(n: int, most: int) -> Places:
    """Return at most `most` of the places 0 to n - 1, evenly, with both ends."""
    at = np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(int)
    at.flags.writeable = False
    return at


def _differences(values: Array) -> Array:
    """Return of all n(n-1)/2 pairs the later value less the earlier one."""
    later, earlier = _pairs(len(values))
    return values[later] - values[earlier]


@lru_cache(maxsize=2 * MOST_POINTS)
def _pairs(n: int) -> tuple[Places, Places]:
    """Return the places of both values of each pair."""
    return np.tril_indices(n, -1)


@lru_cache
def _quantile(level: float) -> float:
    return float(stats.norm.ppf((1 + level) / 2))


def _variance(x: Array, y: Array) -> float:
    """Return that of Kendall's score, with ties: equation 2.6 of Sen, 1968."""
    ties = sum(_score_of_ties(_repeats(values)) for values in (x, y))
    return (_score_of_ties([len(x)]) - ties) / 18


def _score_of_ties(counts: Sequence[int]) -> int:
    return sum(c * (c - 1) * (2 * c + 5) for c in counts)


def _repeats(values: Array) -> list[int]:
    """Return how often each value is there that is there more than once."""
    if (values[1:] > values[:-1]).all():  # as clocks and leaks do: no need to sort
        return []
    ordered = np.sort(values)
    ends = np.flatnonzero(ordered[1:] != ordered[:-1])
    counts = np.diff(ends, prepend=-1, append=len(ordered) - 1)
    found: list[int] = counts[counts > 1].tolist()
    return found


def mean(values: Array) -> float:
    (values,) = present(values)
    return float(np.mean(values)) if len(values) else np.nan


def t_interval(values: Array, level: float = 0.95) -> Interval:
    """Return the mean of `values` with its Student t interval.

    NaN ends with fewer than 2.
    """
    (values,) = present(values)
    n = len(values)
    if n == 0:
        return NOTHING
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, np.nan, np.nan)
    # scipy's own t.interval() is NaN for equal values, where the interval is a point.
    sem = float(np.std(values, ddof=1)) / np.sqrt(n)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * sem
    return Interval(mean, mean - half, mean + half)


def welch_interval(a: Array, b: Array, level: float = 0.95) -> Interval:
    """Return the mean of `b` less that of `a`, unpaired, with Welch's t interval.

    NaN ends where either has fewer than 2, NOTHING where either has none.
    """
    a, b = present(a)[0], present(b)[0]
    if not len(a) or not len(b):
        return NOTHING
    difference = float(np.mean(b) - np.mean(a))
    if min(len(a), len(b)) < 2:
        return Interval(difference, np.nan, np.nan)
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return Interval(difference, difference, difference)
    with warnings.catch_warnings():
        # Where one of them has no spread, the other's is all there is
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(b, a, equal_var=False).confidence_interval(level)
    return Interval(difference, float(found.low), float(found.high))


def ratio_of_means(
    numerator: Array, denominator: Array, half_width_in_sd: float
) -> Interval:
    """Return mean(numerator) / mean(denominator) of pairs, with Fieller's interval.

    It holds every ratio r for which the interval of mean(numerator - r * denominator)
    holds 0, as both are estimates. `half_width_in_sd` is half the width of such an
    interval, in standard deviations (over n). Infinite where the denominator may be 0.
    E. C. Fieller, "Some problems in interval estimation", 1954.
    """
    a, b = present(numerator, denominator)
    if len(a) == 0 or np.mean(b) == 0:
        return NOTHING
    middle = float(np.mean(a) / np.mean(b))
    if len(a) < 2:
        return Interval(middle, np.nan, np.nan)
    if not math.isfinite(half_width_in_sd):
        return Interval(middle, -np.inf, np.inf)
    (var_a, cov), (_, var_b) = np.cov(a, b, ddof=0)
    q = half_width_in_sd**2
    square = float(np.mean(b) ** 2 - q * var_b)
    if square <= 0:
        return Interval(middle, -np.inf, np.inf)
    product = float(np.mean(a) * np.mean(b) - q * cov)
    rest = float(np.mean(a) ** 2 - q * var_a)
    half = math.sqrt(max(product**2 - square * rest, 0.0))
    return Interval(middle, (product - half) / square, (product + half) / square)


def t_half_width_in_sd(n: int, level: float) -> float:
    """Return half of a t interval's width, in standard deviations (over n)."""
    return float(stats.t.ppf(0.5 + level / 2, n - 1)) / math.sqrt(n - 1)


def summarise(values: Array) -> Summary:
    """Return `values` over runs, without those missing.

    NaN throughout when none is left.
    """
    (values,) = present(values)
    if len(values) == 0:
        return Summary(0, np.nan, np.nan, np.nan, np.nan, None)
    mean, low, high = t_interval(values)
    ci = (low, high) if len(values) > 1 else None
    low, middle, high = (float(f(values)) for f in (np.min, np.median, np.max))
    return Summary(len(values), middle, low, high, mean, ci)


def time_mean(time_s: Array, values: Array) -> float:
    """Return the mean over time of `values`, so that late samples do not weigh less."""
    time_s, values = present(time_s, values)
    if len(values) == 0:
        return np.nan
    if np.ptp(time_s) == 0:
        return float(np.mean(values))
    return float(np.trapezoid(values, time_s) / np.ptp(time_s))


def last(values: Array) -> float:
    """Return the last value that is there; NaN when none is."""
    if len(values) and math.isfinite(values[-1]):  # as nearly always: no need to search
        return float(values[-1])
    (values,) = present(values)
    return float(values[-1]) if len(values) else np.nan


def largest(values: Array) -> float:
    (values,) = present(values)
    return float(np.max(values)) if len(values) else np.nan


def increase(values: Array) -> float:
    """Return the increase from the first value that is there to the last."""
    (values,) = present(values)
    return float(values[-1] - values[0]) if len(values) > 1 else np.nan


def rate(values: Array, per: Array) -> float:
    """Return the last of `values` per the last of `per`.

    NaN where that is 0 or missing.
    """
    divisor = last(per)
    return last(values) / divisor if divisor > 0 else np.nan


def correlation(x: Array, y: Array) -> float:
    """Return Pearson's r; NaN with fewer than 3 pairs, or where either is constant.

    No p-value goes with it: samples of one run depend on each other.
    """
    x, y = present(x, y)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    # Not by np.corrcoef(): for so few numbers its BLAS wakes a thread on every CPU
    dx, dy = ((v - np.mean(v)) / np.ptp(v) for v in (x, y))
    return float(np.sum(dx * dy) / np.sqrt(np.sum(dx * dx) * np.sum(dy * dy)))


def median_curve(samples: pd.DataFrame, column: str) -> tuple[Array, Array]:
    """Return the median of `column` over runs at each time (s) all cover.

    Samples of different runs are not simultaneous, so each run is interpolated
    linearly to the times of the run with the most samples. Empty without data.
    """
    pairs = [
        present(r["timestamp"].to_numpy(float), r[column].to_numpy(float))
        for _, r in samples.groupby("run", sort=True)
    ]
    pairs = [p for p in pairs if len(p[0])]
    if not pairs:
        return np.empty(0), np.empty(0)
    grid = max(pairs, key=lambda p: len(p[0]))[0]
    shared = max(p[0][0] for p in pairs), min(p[0][-1] for p in pairs)
    # Clipped, not cut: a last sample that was a millisecond later than another's stays
    grid = np.unique(np.clip(grid, *shared))
    return grid, np.median([np.interp(grid, x, y) for x, y in pairs], axis=0)
