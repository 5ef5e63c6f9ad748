# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import numpy as np
import pytest

from analysis.stats import significance
from analysis.stats.significance import BOTH, WELCH

RNG = np.random.default_rng(11)


def pair(shift: float, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(0, 0.1, n), np.linspace(shift, shift + 0.1, n)


def test_holm_multiplies_the_smallest_and_keeps_the_order() -> None:
    found = significance.unpaired_family([pair(a) for a in (0.2, 0.05, 0)])
    assert found[0].adjusted == pytest.approx(3 * found[0].p)
    assert found[1].adjusted == pytest.approx(2 * found[1].p)
    assert found[0].adjusted < found[1].adjusted < found[2].adjusted


def test_what_cannot_be_tested_does_not_count() -> None:
    alone = significance.unpaired_family([pair(0.2)])
    beside = significance.unpaired_family([pair(0.2), pair(0.2, n=1)])
    assert beside[0] == alone[0]
    assert np.isnan(beside[1].p)


def test_few_runs_are_tested_by_welch_alone() -> None:
    (few,) = significance.unpaired_family([pair(0.2, n=3)])
    (enough,) = significance.unpaired_family([pair(0.2)])
    assert (few.method, enough.method) == (WELCH, BOTH)


def test_false_positives_of_a_family_are_five_in_a_hundred_at_most() -> None:
    wrong = 0
    for _ in range(100):
        family = [(RNG.standard_t(2, 6), RNG.standard_t(2, 6)) for _ in range(4)]
        found = significance.unpaired_family(family)
        wrong += any(t.adjusted <= 0.05 for t in found)
    assert wrong / 100 < 0.11
