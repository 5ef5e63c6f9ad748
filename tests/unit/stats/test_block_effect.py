# SPDX-License-Identifier: GPL-2.0-only
"""The interval of an effect: Student's, and wider where there is reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.stats import estimators
from analysis.stats.block_effect import (
    block_effect,
    blur_of,
    dependence,
    smallest_step,
)
from analysis.stats.confidence_sequence import confidence_sequence
from analysis.stats.looking import ANY_TIME, FIXED, PLANNED, Looking

RNG = np.random.default_rng(5)


def test_it_is_students_interval_and_p() -> None:
    values = np.array([0.3, -1.2, 0.9, 0.1, -0.4, 1.8, -0.7, 0.5, 0.2])
    found = block_effect(values)
    assert found.dependence == 0
    assert found[:3] == pytest.approx(tuple(estimators.t_interval(values)))
    assert found.p == pytest.approx(float(stats.ttest_1samp(values, 0).pvalue))


def test_looked_at_it_is_the_confidence_sequence() -> None:
    values = RNG.normal(0.1, 1, 9)
    found = block_effect(values, looking=Looking(ANY_TIME))
    assert found[:3] == pytest.approx(tuple(confidence_sequence(values)))
    assert math.isnan(found.p)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12),
    st.sampled_from([0.9, 0.95, 0.99]),
    st.floats(0, 10),
    st.sampled_from([FIXED, Looking(ANY_TIME), Looking(PLANNED, 3, 4)]),
)
def test_an_interval_is_around_the_estimate_or_there_is_none(
    values: list[float], level: float, blur: float, looking: Looking
) -> None:
    found = block_effect(np.array(values), level, looking, blur)
    if found.is_known:
        assert found.low <= found.estimate <= found.high
    else:
        assert not math.isfinite(found.low) and not math.isfinite(found.high)


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12, unique=True))
def test_p_and_interval_say_the_same(values: list[float]) -> None:
    found = block_effect(np.array(values), blur=0.5)
    if found.is_known and abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize("n", [2, 5, 50])
def test_no_spread_is_not_certainty(n: int) -> None:
    assert not block_effect(np.full(n, 0.02)).is_known


def test_neighbours_that_resemble_each_other_widen_the_interval() -> None:
    waves = np.sin(np.arange(24) / 4) + 0.01 * RNG.standard_normal(24)
    assert dependence(waves) > 0.5
    mixed = RNG.permutation(waves)
    widths = [f.high - f.low for f in map(block_effect, (waves, mixed))]
    assert widths[0] > 1.5 * widths[1]


def test_independent_blocks_are_seldom_taken_for_dependent() -> None:
    evident = [dependence(RNG.standard_normal(10)) > 0 for _ in range(400)]
    assert np.mean(evident) < 0.1


def test_many_blocks_take_no_longer() -> None:
    assert dependence(np.repeat([0.0, 1.0], 50_000)) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([1.0, 1.5, 1.0, 1.5, 2.0, 1.0], 0.5),
        ([1.01, 1.5, 1.07, 1.52, 2.0, 1.3], 0.0),
        ([3.0] * 6, math.nan),
        ([1.0, 1.0], 0.0),
    ],
)
def test_coarse_values_show_their_step(values: list[float], step: float) -> None:
    assert smallest_step(np.array(values)) == pytest.approx(step, nan_ok=True)


def test_noise_as_wide_as_a_step_averages_it_out() -> None:
    assert blur_of(np.array([1.0, 1.0, 1.5, 1.0]), 0.5) == 0.25 * (
        np.std([1, 1, 1.5, 1], ddof=1) < 0.25
    )
    assert blur_of(np.array([1.0, 1.0, 1.0, 1.0]), 0.5) == 0.25
    assert blur_of(np.array([1.0, 2.0, 0.5, 1.5]), 0.5) == 0
