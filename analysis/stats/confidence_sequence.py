# SPDX-License-Identifier: GPL-2.0-only
"""An interval that stays valid however often it is looked at.

A t interval holds for a number of blocks that was fixed beforehand; whoever looks after
every block and stops when it excludes 0 is wrong far more often than it says. The
confidence sequence here may be looked at after every block, at no loss: over all of
them together it misses the truth with probability 1 - level at the most.

It is that of the scale-invariant mixture t-test: T. L. Lai, "On confidence sequences",
Annals of Statistics 4(2), 1976; H. Wang and A. Ramdas, "Anytime-valid t-tests and
confidence sequences for Gaussian means with unknown variance", 2023. For values x_1 ..
x_n with mean m and a hypothetical mean mu, the mixture over a Gaussian prior of the
effect, with precision c^2 in units of the standard deviation, is

    E_n(mu) = sqrt(c^2 / (n + c^2)) * R^(n/2),
    R = (n + c^2) (s^2 + u) / ((n + c^2) s^2 + c^2 u),

where s^2 is the mean square about m and u = (m - mu)^2. Under mu it is a non-negative
martingale that starts at 1, so by Ville's inequality it ever exceeds 1/alpha with
probability alpha at the most. All mu with E_n(mu) < 1/alpha form the interval.
"""

from __future__ import annotations

import math

import numpy as np

from analysis.stats.estimators import NOTHING, Array, Interval, present

#: The precision c^2 of the prior: narrowest, as a multiple of the standard error, for
#: about ten blocks. Any value is valid.
_PRECISION = 0.5


def confidence_sequence(values: Array, level: float = 0.95) -> Interval:
    """Return the mean of `values` so far, and its interval.

    Infinite while nothing is known.

    Assumes independent Gaussian values (for ratios: their logarithms), as a t
    interval does.
    """
    (values,) = present(values)
    n = len(values)
    if n == 0:
        return NOTHING
    mean, sd = float(np.mean(values)), float(np.std(values))
    width = half_width_in_sd(n, level)
    half = width * sd if math.isfinite(width) else math.inf
    return Interval(mean, mean - half, mean + half)


def half_width_in_sd(n: int, level: float) -> float:
    """Return half the interval's width, in standard deviations (over n) of the values.

    Infinite while there are too few.
    """
    alpha = 1 - level
    both = n + _PRECISION
    threshold = (both / (_PRECISION * alpha**2)) ** (1 / n)
    rest = both - threshold * _PRECISION
    return math.sqrt(both * (threshold - 1) / rest) if rest > 0 else math.inf
