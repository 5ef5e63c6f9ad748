# SPDX-License-Identifier: GPL-2.0-only
"""Whether two arms of runs that share no block differ: a test, and Holm over a family.

p is the larger of two: of Welch's test, which spreads and numbers of runs that differ
do not lead astray, and of the permutation of the runs with Welch's t as its statistic,
which heavy tails do not (A. Janssen, "Studentized permutation tests for non-i.i.d.
hypotheses and the generalized Behrens-Fisher problem", 1997). Alone, permuting 4 runs
that spread 5 times as wide as 12 others finds an effect of nothing in a fifth of the
cases. Where there are too few runs for a permutation to reject, it is Welch's alone.
S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
"""

from __future__ import annotations

import contextlib
import gc
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.stats.estimators import Array, present

ALPHA = 0.05
PERMUTATION, WELCH = "permutation", "Welch's t"
BOTH = f"{PERMUTATION} and {WELCH}"
#: Where there are more signs or orders than these, they are drawn and not all tried.
_MOST_RESAMPLES = 9999


class SignificanceTest(NamedTuple):
    """``p`` of no effect, ``adjusted`` for the family; NaN where there is no test."""

    method: str
    p: float
    adjusted: float


def unpaired_family(pairs: Sequence[tuple[Array, Array]]) -> list[SignificanceTest]:
    """Test pairs of unpaired arrays, and correct for their number.

    Pairs in which either has fewer than two values are not tested, and do not count
    for the correction.
    """
    cleaned = [(present(a)[0], present(b)[0]) for a, b in pairs]
    tests = sum(min(len(a), len(b)) > 1 for a, b in cleaned)
    return _corrected([_unpaired(a, b, tests) for a, b in cleaned])


def _corrected(tests: Sequence[SignificanceTest]) -> list[SignificanceTest]:
    found = list(tests)
    known = [i for i, test in enumerate(found) if np.isfinite(test.p)]
    if known:
        with _without_old_garbage():
            adjusted = multipletests([found[i].p for i in known], ALPHA, "holm")[1]
        for i, p in zip(known, adjusted, strict=True):
            found[i] = found[i]._replace(adjusted=float(p))
    return found


@contextlib.contextmanager
def _without_old_garbage() -> Iterator[None]:
    """multipletests() collects garbage at each call: 22 ms and more if all of pandas is
    searched; what is frozen is not, and freezing costs nothing.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _unpaired(a: Array, b: Array, tests: int) -> SignificanceTest:
    if min(len(a), len(b)) < 2:
        return SignificanceTest("", np.nan, np.nan)
    smallest = 2 / math.comb(len(a) + len(b), len(a))
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        # No spread to judge by: the order of the runs is all there is
        return SignificanceTest(PERMUTATION, 1.0 if a[0] == b[0] else smallest, np.nan)
    welch = _welch(a, b)
    if smallest * tests > ALPHA:
        return SignificanceTest(WELCH, welch, np.nan)
    permuted = _welch(a, b, stats.PermutationMethod(_MOST_RESAMPLES, rng=0))
    return SignificanceTest(BOTH, max(welch, permuted), np.nan)


def _welch(a: Array, b: Array, method: stats.PermutationMethod | None = None) -> float:
    with warnings.catch_warnings():
        # Of an arm, or a permuted one, whose values are all the same
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_ind(a, b, equal_var=False, method=method).pvalue)
