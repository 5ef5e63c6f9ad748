# SPDX-License-Identifier: GPL-2.0-only
"""Planned looks: levels as in the literature, and estimates without bias."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.stats.group_sequential import nominal_alpha, unbiased

SIZE, LOOKS = 10, 3


@pytest.mark.parametrize(
    ("looks", "level"), [(1, 0.05), (2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158)]
)
def test_the_levels_are_pococks(looks: int, level: float) -> None:
    """Pocock 1977, table 1."""
    assert nominal_alpha(looks, 0.05) == pytest.approx(level, abs=2e-4)


def stopped(effect: float, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, number of the look, and standard deviation of who stops."""
    values = np.random.default_rng(3).normal(effect, 1, (n, SIZE * LOOKS))
    found = np.zeros((n, 3))
    is_open = np.ones(n, dtype=bool)
    for look in range(1, LOOKS + 1):
        seen = values[:, : SIZE * look]
        p = stats.ttest_1samp(seen, 0, axis=1).pvalue
        now = is_open & ((p <= nominal_alpha(LOOKS, 0.05)) | (look == LOOKS))
        found[now] = np.stack(
            [seen.mean(1), np.full(n, look), seen.std(1, ddof=1)], axis=1
        )[now]
        is_open &= ~now
    return found[:, 0], found[:, 1].astype(int), found[:, 2]


def test_who_stops_early_sees_too_much_and_is_corrected() -> None:
    means, looks, sds = stopped(0.7, 300)
    assert np.mean(means) > 0.74
    corrected = [
        unbiased(m, sd, SIZE * look, look, LOOKS, 0.05)
        for m, look, sd in zip(means, looks, sds, strict=True)
    ]
    assert np.mean(corrected) == pytest.approx(0.7, abs=0.035)


def test_without_further_looks_nothing_is_corrected() -> None:
    assert unbiased(0.5, 1.0, 10, 1, 1, 0.05) == 0.5
    assert unbiased(0.0, 1.0, 10, 1, 3, 0.05) == pytest.approx(0, abs=1e-3)
    assert unbiased(9.0, 1.0, 10, 1, 3, 0.05) == 9.0, "nothing makes that up"
