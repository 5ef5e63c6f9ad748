# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.stats import significance
from analysis.stats.significance import PERMUTATION, STUDENT

RNG = np.random.default_rng(11)


def test_few_blocks_are_tested_by_t_because_signs_could_not_reject() -> None:
    values = RNG.standard_normal(4)
    (test,) = significance.family([values])
    assert test.method == STUDENT
    assert test.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert test.adjusted == test.p


def test_the_size_of_the_family_decides_whether_signs_can_reject() -> None:
    eight = [RNG.standard_normal(8) for _ in range(7)]
    assert {t.method for t in significance.family(eight[:6])} == {PERMUTATION}
    assert {t.method for t in significance.family(eight)} == {STUDENT}


def test_eight_blocks_that_agree_are_two_in_two_to_the_eighth() -> None:
    (test,) = significance.family([np.linspace(0.1, 0.2, 8)])
    assert test.p == pytest.approx(2 / 2**8)


def test_holm_multiplies_the_smallest_and_keeps_the_order() -> None:
    found = significance.family([np.linspace(a, a + 0.1, 9) for a in (0.1, -0.05, 0)])
    p = [t.p for t in found]
    assert found[0].adjusted == pytest.approx(3 * p[0])
    assert found[1].adjusted >= found[0].adjusted


def test_what_cannot_be_tested_does_not_count() -> None:
    values = np.linspace(0.1, 0.2, 8)
    alone = significance.family([values])
    beside = significance.family([values, np.array([0.3]), np.array([])])
    assert beside[0] == alone[0]
    assert np.isnan(beside[1].adjusted) and np.isnan(beside[2].p)


@given(st.integers(2, 12), st.floats(-1, 1))
def test_equal_differences_are_coins_that_fall_alike(n: int, value: float) -> None:
    (test,) = significance.family([np.full(n, value)])
    assert test.p == (1.0 if value == 0 else 2.0 ** (1 - n))


def test_false_positives_of_a_family_are_five_in_a_hundred_at_most() -> None:
    wrong = 0
    for _ in range(300):
        family = [RNG.standard_t(2, size=9) for _ in range(4)]
        wrong += any(t.adjusted <= 0.05 for t in significance.family(family))
    assert wrong / 300 < 0.08
