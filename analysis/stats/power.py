# SPDX-License-Identifier: GPL-2.0-only
"""What an experiment can see: the smallest effect, and the blocks that one takes.

All of a paired t test of log ratios at 5 %, two-sided, by statsmodels, which finds what
the interval of the comparison leaves out; at 5 % by the number of primary metrics that
are judged together. The noise is the standard deviation of the log ratio of two runs
of a block, as an A/A experiment shows it; as that is an estimate from few blocks,
plans are made with its upper limit (R. H. Browne, "On the use of a pilot sample for
sample size determination", 1995).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2
from statsmodels.stats.power import TTestPower

from analysis.stats.block_effect import FEWEST_BLOCKS
from analysis.stats.estimators import Array, present

ALPHA = 0.05
POWER = 0.80
#: How surely the noise is no larger than a plan takes it for.
ASSURANCE = 0.80
#: More blocks than anybody would run.
MOST_BLOCKS = 100_000


def noise(control: Array, test: Array) -> float:
    """Return standard deviation of log(test/control) over blocks.

    NaN with fewer than 2, and where all differ by the same: no spread is not certainty.
    """
    logs = np.log(np.asarray(test) / np.asarray(control))
    (logs,) = present(logs)
    sd = float(np.std(logs, ddof=1)) if len(logs) > 1 else math.nan
    return sd if sd > 0 else math.nan


def detectable(sd: float, blocks: int) -> float:
    """Return the smallest ratio above 1 that `blocks` blocks find with a power of 80 %.

    NaN with fewer than 2 blocks or unknown noise.
    """
    if blocks < 2 or not math.isfinite(sd):
        return math.nan
    if sd == 0:
        return 1.0
    size = TTestPower().solve_power(
        nobs=blocks, alpha=ALPHA / 2, power=POWER, alternative="larger"
    )
    return math.exp(float(size) * sd)


def upper_limit(sd: float, blocks: int) -> float:
    """Return what the true noise stays below in 80 %, by `sd` from so many blocks.

    NaN with fewer than 2.
    """
    if blocks < 2:
        return math.nan
    low = float(chi2.ppf(1 - ASSURANCE, blocks - 1))
    return sd * math.sqrt((blocks - 1) / low)


def power_of(sd: float, ratio: float, blocks: int, alpha: float = ALPHA) -> float:
    """Return the probability that `blocks` blocks find an effect of `ratio`."""
    if blocks < 2 or not math.isfinite(sd):
        return math.nan
    if sd == 0:
        return 1.0 if ratio != 1 else alpha
    size = abs(math.log(ratio)) / sd
    # The far tail of the two-sided test adds next to nothing, or NaN if it is too far
    return float(
        TTestPower().power(size, nobs=blocks, alpha=alpha / 2, alternative="larger")
    )


def blocks_needed(sd: float, ratio: float, alpha: float = ALPHA) -> int | None:
    """Return blocks that find an effect of `ratio` with a power of 80 %.

    None: too many.
    """
    if not math.isfinite(sd) or ratio == 1:
        return None
    low, high = FEWEST_BLOCKS - 1, FEWEST_BLOCKS
    while power_of(sd, ratio, high, alpha) < POWER:
        low, high = high, high * 2
        if high > MOST_BLOCKS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(sd, ratio, middle, alpha) >= POWER:
            high = middle
        else:
            low = middle
    return high
