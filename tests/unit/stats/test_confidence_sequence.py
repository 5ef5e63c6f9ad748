# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from analysis.stats import confidence_sequence, estimators, power
from analysis.stats.block_effect import FEWEST_BLOCKS

LOOKS = 30


def ever_excludes(
    interval: object, truth: float, n_experiments: int, scale: float = 1.0
) -> float:
    """Share of experiments in which some look excludes the truth."""
    rng = np.random.default_rng(20)
    wrong = 0
    for _ in range(n_experiments):
        values = truth + scale * rng.standard_normal(LOOKS)
        found = [interval(values[:n]) for n in range(2, LOOKS + 1)]  # type: ignore[operator]
        wrong += any(not f.low <= truth <= f.high for f in found)
    return wrong / n_experiments


def test_looking_after_every_block_is_free() -> None:
    assert ever_excludes(confidence_sequence.confidence_sequence, 0.3, 1000) <= 0.05
    # What it is there for: the interval for one look does not survive thirty
    assert ever_excludes(estimators.t_interval, 0.3, 300) > 0.15


def test_it_does_find_an_effect() -> None:
    rng = np.random.default_rng(3)
    found = [
        confidence_sequence.confidence_sequence(1.0 + rng.standard_normal(LOOKS)).low
        > 0
        for _ in range(100)
    ]
    assert sum(found) > 90


@given(
    st.lists(
        st.floats(min_value=-5, max_value=5, width=32), min_size=6, max_size=40
    ).filter(lambda v: np.std(v) > 1e-3)
)
def test_the_ends_are_where_the_martingale_reaches_its_bound(
    given_values: list[float],
) -> None:
    values = np.array(given_values)
    n, square = len(values), confidence_sequence._PRECISION

    def log_e(mu: float) -> float:
        spread, mean = np.var(values), np.mean(values)
        u = (mean - mu) ** 2
        ratio = (n + square) * (spread + u) / ((n + square) * spread + square * u)
        return float(0.5 * math.log(square / (n + square)) + n / 2 * math.log(ratio))

    found = confidence_sequence.confidence_sequence(values)
    assert log_e(found.high) == pytest.approx(math.log(20), rel=1e-6)
    root = optimize.brentq(
        lambda mu: log_e(mu) - math.log(20), found.estimate, found.estimate + 1e4
    )
    assert root == pytest.approx(found.high, rel=1e-6)


def test_two_blocks_say_nothing() -> None:
    found = confidence_sequence.confidence_sequence(np.array([0.1, 0.2]))
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert confidence_sequence.confidence_sequence(np.array([])) == pytest.approx(
        estimators.NOTHING, nan_ok=True
    )


def test_power_agrees_with_simulation() -> None:
    rng = np.random.default_rng(5)
    effect, sd, blocks = math.log(1.05), 0.05, 10
    hits = 0
    for _ in range(2000):
        found = estimators.t_interval(effect + sd * rng.standard_normal(blocks))
        hits += not found.low <= 0 <= found.high
    assert power.power_of(sd, 1.05, blocks) == pytest.approx(hits / 2000, abs=0.03)


@given(
    st.floats(min_value=0.001, max_value=0.3), st.floats(min_value=1.005, max_value=2)
)
def test_blocks_needed_are_enough_and_one_less_is_not(sd: float, ratio: float) -> None:
    blocks = power.blocks_needed(sd, ratio)
    assert blocks is not None
    assert power.power_of(sd, ratio, blocks) >= power.POWER
    assert blocks >= FEWEST_BLOCKS
    if blocks > FEWEST_BLOCKS:
        assert power.power_of(sd, ratio, blocks - 1) < power.POWER
        assert power.detectable(sd, blocks) <= ratio * (1 + 1e-6)


def test_unknown_noise_makes_no_promise() -> None:
    assert math.isnan(power.noise(np.array([1.0]), np.array([1.1])))
    assert math.isnan(power.detectable(math.nan, 8))
    assert power.blocks_needed(math.nan, 1.03) is None
    assert power.blocks_needed(0.5, 1.0) is None
