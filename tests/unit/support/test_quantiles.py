# SPDX-License-Identifier: GPL-2.0-only
"""Percentiles are NumPy's, by each of its methods that we use."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.support.quantiles import Method, percentile

NUMBERS = st.lists(st.floats(0, 1e9), min_size=1, max_size=300)


@given(NUMBERS, st.integers(0, 100))
@pytest.mark.parametrize("method", ["linear", "lower", "higher", "inverted_cdf"])
def test_percentiles_are_those_of_numpy(
    method: Method, values: list[float], percent: int
) -> None:
    # In hundredths NumPy's rank is not exact, and one that is whole may be passed by
    ranks = np.array([percent * (len(values) - 1) / 100])
    if method == "inverted_cdf" or not ranks[0].is_integer():
        wanted = float(np.percentile(values, percent, method=method))
    else:
        wanted = sorted(values)[int(ranks[0])]
    assert percentile(values, percent, method) == pytest.approx(wanted, rel=1e-12)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=300))
def test_linear_ones_are_those_of_the_standard_library(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    assert cuts == [percentile(values, percent, "linear") for percent in range(1, 100)]


@given(NUMBERS)
def test_lateness_is_told_by_the_ranks_it_always_was(values: list[float]) -> None:
    """Results that are compared with older ones have p50 and p99 of these ranks."""
    ordered, last = sorted(values), len(values) - 1
    assert percentile(values, 50, "lower") == ordered[last // 2]
    assert percentile(values, 99, "higher") == ordered[math.ceil(0.99 * last)]
