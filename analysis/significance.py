# SPDX-License-Identifier: GPL-2.0-only
"""Whether differences between arms are there: a test each, and Holm over a family.

With blocks enough for it to reject after the correction, the test is the permutation of
signs, which assumes nothing but that without an effect the arms of a block could as
well have been the other way round. With fewer it is Student's t, on the logarithms of
ratios. S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.stats import Array, present

ALPHA = 0.05
PERMUTATION, STUDENT = "permutation", "t"
#: Beyond 13 blocks, signs are drawn and not all tried.
_MOST_RESAMPLES = 9999


class Test(NamedTuple):
    """``p`` of no effect, ``adjusted`` for the family; NaN where there is no test."""

    method: str
    p: float
    adjusted: float


def family(differences: Sequence[Array]) -> list[Test]:
    """Test every array of block differences, and correct for their number.

    Each array has one difference a block, 0 for no effect. Those with fewer than two
    are not tested, and do not count for the correction.
    """
    cleaned = [present(d)[0] for d in differences]
    tests = sum(len(d) > 1 for d in cleaned)
    found = [_test(d, tests) for d in cleaned]
    known = [i for i, test in enumerate(found) if np.isfinite(test.p)]
    if known:
        adjusted = multipletests([found[i].p for i in known], ALPHA, "holm")[1]
        for i, p in zip(known, adjusted, strict=True):
            found[i] = found[i]._replace(adjusted=float(p))
    return found


def _test(differences: Array, tests: int) -> Test:
    n = len(differences)
    if n < 2:
        return Test("", np.nan, np.nan)
    if np.ptp(differences) == 0:
        # No spread to judge by: as likely as n coins that fall alike
        p = 1.0 if differences[0] == 0 else 2.0 ** (1 - n)
        return Test(PERMUTATION, p, np.nan)
    if 2.0 ** (1 - n) * tests > ALPHA:
        return Test(STUDENT, float(stats.ttest_1samp(differences, 0).pvalue), np.nan)
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=_MOST_RESAMPLES,
        rng=0,
    )
    return Test(PERMUTATION, float(found.pvalue), np.nan)
