# SPDX-License-Identifier: GPL-2.0-only
"""The effect that blocks show: the mean of their differences, and how well it is known.

It is Student's interval, or one that holds at several looks where results were looked
at several times, made wider by two things that either takes for granted.

*Neighbouring blocks are taken for independent.* Where their lag-1 correlation is
evident (a permutation of the blocks gives as much in fewer than 1 of 20 cases), the
mean varies as that of n (1 - r) / (1 + r) independent blocks would, with r corrected
for its bias (M. G. Kendall, "Note on bias in the estimation of autocorrelation", 1954).
With ten blocks a weak correlation is seldom evident: this is a help and no cure.

*Values are taken for exact.* One that is read off buckets, or counted in whole rounds,
may be off by half a step in either arm, and no number of blocks averages that out
unless the noise is about as wide as a step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis.stats.estimators import Array, present
from analysis.stats.group_sequential import unbiased
from analysis.stats.looking import ANY_TIME, FIXED, PLANNED, Looking

#: A claim from fewer blocks than these rests on the shape of the noise alone: where
#: runs have two modes, one interval of 95 % in seven misses with two blocks.
FEWEST_BLOCKS = 3

#: Below this probability by chance, a correlation of neighbours counts as evident.
_EVIDENT = 0.05
#: With fewer blocks there are too few orders to tell.
_FEWEST_FOR_ORDER = 6
_PERMUTATIONS = 999
#: With more blocks the normal approximation is as good.
_MANY = 200
#: Noise is as wide as a step from here on, as a share of it.
_DITHERS = 0.5


class BlockEffect(NamedTuple):
    """A mean, its interval, and p of the same interval; NaN where there is none.

    A confidence sequence is infinite while there are too few blocks.

    ``dependence`` is the correlation of neighbouring blocks, 0 where none is evident.
    """

    estimate: float
    low: float
    high: float
    p: float
    dependence: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def block_effect(
    differences: Array,
    level: float = 0.95,
    looking: Looking = FIXED,
    blur: float = 0.0,
) -> BlockEffect:
    """Return the mean of `differences`, one a block in the order they were done.

    `blur` is how much the mean may be off because values are not exact. Differences
    that are all the same have no interval: no spread is not certainty.
    """
    (values,) = present(differences)
    n = len(values)
    if n == 0:
        return BlockEffect(*[math.nan] * 4)
    middle = float(np.mean(values))
    sd = float(np.std(values))
    if n < 2 or sd <= 1e-12 * max(1.0, abs(middle)):
        return BlockEffect(middle, math.nan, math.nan, math.nan)
    r = dependence(values)
    effective = max(n * (1 - r) / (1 + r), 2.0)
    if looking.kind == ANY_TIME:
        half = looking.half_width(n, level) * sd * math.sqrt(n / effective) + blur
        return BlockEffect(middle, middle - half, middle + half, math.nan, r)
    # As Student's, whose standard deviation is over n - 1
    error = sd * math.sqrt(n / (n - 1) / effective)
    nominal = looking.nominal_level(level)
    half = float(stats.t.ppf(0.5 + nominal / 2, effective - 1)) * error + blur
    if looking.kind == PLANNED:
        return _planned(middle, half, error * math.sqrt(n), n, level, looking, r)
    beyond = max(abs(middle) - blur, 0.0) / error
    p = 2 * float(stats.t.sf(beyond, effective - 1))
    return BlockEffect(middle, middle - half, middle + half, p, r)


def _planned(
    middle: float,
    half: float,
    sd: float,
    n: int,
    level: float,
    looking: Looking,
    r: float,
) -> BlockEffect:
    """Return an effect at one of some planned looks, corrected for stopping there."""
    look = looking.look_after(n)
    true = unbiased(middle, sd, n, look, looking.looks, 1 - level)
    inside = min(max(true, middle - half), middle + half)
    return BlockEffect(inside, middle - half, middle + half, math.nan, r)


def dependence(values: Array) -> float:
    """Return the correlation of neighbours, 0 to 0.9; 0 where it is not evident."""
    n = len(values)
    if n < _FEWEST_FOR_ORDER:
        return 0.0
    centred = values - np.mean(values)
    total = float(np.sum(centred * centred))
    if total == 0:
        return 0.0
    found = float(np.sum(centred[1:] * centred[:-1])) / total
    if found <= 0:
        return 0.0
    if _by_chance(centred, found, total) > _EVIDENT:
        return 0.0
    return float(np.clip((found + 1 / n) / (1 - 4 / n), 0.0, 0.9))


def _by_chance(centred: Array, found: float, total: float) -> float:
    """Return how probable such a correlation is if the order means nothing."""
    n = len(centred)
    if n > _MANY:
        return float(stats.norm.sf((found + 1 / n) * math.sqrt(n)))
    orders = np.random.default_rng(0).permuted(
        np.tile(centred, (_PERMUTATIONS, 1)), axis=1
    )
    chance = np.sum(orders[:, 1:] * orders[:, :-1], axis=1) / total
    return float((1 + np.sum(chance >= found)) / (1 + _PERMUTATIONS))


def smallest_step(values: Array) -> float:
    """Return the step of values that repeat themselves; 0 where they do not.

    NaN where all are the same: how fine they are is not known then.
    """
    (values,) = present(values)
    if len(values) < 4:
        return 0.0
    distinct = np.unique(values)
    gaps = np.diff(distinct)
    gaps = gaps[gaps > 1e-9 * np.max(np.abs(distinct))]
    if not len(gaps):
        return math.nan
    is_coarse = len(gaps) + 1 <= 0.8 * len(values)
    return float(np.min(gaps)) if is_coarse else 0.0


def blur_of(values: Array, step: float) -> float:
    """Return how much the mean of `values`, read to a `step`, may be off.

    Noise about as wide as a step spreads the values over several, and averages.
    """
    (values,) = present(values)
    if len(values) < 2 or step <= 0:
        return 0.0
    return 0.0 if float(np.std(values, ddof=1)) >= _DITHERS * step else step / 2
