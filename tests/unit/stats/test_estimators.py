# SPDX-License-Identifier: GPL-2.0-only
"""The numbers, against values worked out by other means than the code under test."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.load.frames import load
from analysis.load.measures import MEASURES, TIDY, column, number, quantity, slug
from analysis.load.run_measures import run_stats
from analysis.load.samples_csv import read_samples
from analysis.load.tidy import per_run, tidy
from analysis.stats import estimators
from tests.unit import analysis_fixtures as fx


def array(*values: float) -> estimators.Array:
    return np.array(values, dtype=float)


def samples(shape: fx.Shape, **spec: Any) -> pd.DataFrame:
    return read_samples(fx.csv_text(fx.rows(shape, fx.spec(**spec))))


def brute_slope(x: list[float], y: list[float]) -> float:
    """The median of all slopes between two points, from the definition."""
    pairs = itertools.combinations(zip(x, y, strict=True), 2)
    slopes = sorted((d - b) / (c - a) for (a, b), (c, d) in pairs if a != c)
    half = len(slopes) // 2
    return slopes[half] if len(slopes) % 2 else sum(slopes[half - 1 : half + 1]) / 2


def test_theil_sen_is_the_median_of_all_slopes() -> None:
    rng = np.random.default_rng(5)
    x = np.sort(rng.uniform(0, 30, 21))
    y = 3 * x + rng.normal(0, 4, 21)
    y[4] = 900.0
    got = estimators.theil_sen(x, y)
    assert got.estimate == pytest.approx(brute_slope(list(x), list(y)), rel=1e-12)
    assert got.low < got.estimate < got.high
    assert abs(got.estimate - 3) < 0.5, "one wild point must not decide the slope"


@pytest.mark.parametrize(
    "x, y",
    [
        (array(), array()),
        (array(1), array(1)),
        (array(1, 2), array(1, 2)),
        (array(2, 2, 2, 2), array(1, 2, 3, 4)),
        (array(1, 2, 3, 4), array(1, np.nan, np.nan, 4)),
    ],
)
def test_no_slope_of_too_little(x: estimators.Array, y: estimators.Array) -> None:
    assert all(math.isnan(v) for v in estimators.theil_sen(x, y))


def test_t_interval_against_the_printed_table() -> None:
    # t(0.975, 4 degrees of freedom) = 2.776, t(0.95, 2) = 2.920: any textbook.
    got = estimators.t_interval(array(2, 4, 4, 5, 10))
    sem = math.sqrt((9 + 1 + 1 + 0 + 25) / 4) / math.sqrt(5)
    assert got.estimate == 5
    assert got.high == pytest.approx(5 + 2.776 * sem, abs=2e-3)
    assert got.low == pytest.approx(5 - 2.776 * sem, abs=2e-3)
    narrow = estimators.t_interval(array(1, 2, 3), level=0.90)
    assert narrow.high == pytest.approx(2 + 2.920 / math.sqrt(3), abs=1e-3)


def test_intervals_of_one_and_of_equal_values() -> None:
    assert estimators.t_interval(array()) is estimators.NOTHING
    one = estimators.t_interval(array(7, np.nan))
    assert one.estimate == 7 and math.isnan(one.low) and math.isnan(one.high)
    assert estimators.t_interval(array(7, 7, 7)) == (7, 7, 7)


def test_the_t_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    draws = rng.normal(100, 5, size=(2000, 4))
    found = [estimators.t_interval(d) for d in draws]
    share = np.mean([i.low <= 100 <= i.high for i in found])
    assert 0.935 < share < 0.965


def test_summary_over_runs() -> None:
    got = estimators.summarise(array(1, np.nan, 2, 9))
    assert (got.n, got.median, got.minimum, got.maximum, got.mean) == (3, 2, 1, 9, 4)
    assert got.ci is not None and got.ci[0] < 4 < got.ci[1]
    assert estimators.summarise(array(5)).ci is None
    assert estimators.summarise(array()).n == 0


def test_time_mean_does_not_weigh_a_late_sample_less() -> None:
    # 0..2 s rising to 10, then one late sample: areas 10 and 8 * 10.
    assert estimators.time_mean(array(0, 2, 10), array(0, 10, 10)) == pytest.approx(9)
    assert estimators.time_mean(array(3), array(4)) == 4
    assert math.isnan(estimators.time_mean(array(), array()))


def test_a_known_growth_is_found() -> None:
    got = run_stats(samples(fx.growing(slope=235, noise=20)), fx.MAX_ENTRIES)
    assert got["growth_entries_per_s"] == pytest.approx(235, rel=0.02)
    per_fork = 235 / fx.FORKS_PER_S
    assert got["growth_entries_per_fork"] == pytest.approx(per_fork, rel=0.02)
    assert got["growth_entries_per_exit"] == got["growth_entries_per_fork"]
    assert math.isnan(got["exits"]), "not counted, so growth is per fork"
    assert got["growth_low"] < 235 < got["growth_high"]
    assert got["entries_final"] == pytest.approx(7110, abs=80)
    assert got["forks_per_s"] == pytest.approx(fx.FORKS_PER_S)
    assert got["evictions"] == 0
    assert math.isnan(got["full_at_s"])
    assert math.isnan(got["longest_scan_us"]), "control does not scan: absent, not 0"


def test_growth_per_exited_task_is_by_exits_where_they_were_counted() -> None:
    shape = fx.machine(fx.growing(slope=200, noise=20), exits_per_s=250)
    got = run_stats(samples(shape), fx.MAX_ENTRIES)
    assert got["growth_entries_per_exit"] == pytest.approx(0.8, rel=0.02)
    assert got["growth_per_exit_low"] < 0.8 < got["growth_per_exit_high"]
    per_fork = 200 / fx.FORKS_PER_S
    assert got["growth_entries_per_fork"] == pytest.approx(per_fork, rel=0.02)
    assert got["exits"] == 7500


def test_growth_per_exited_task_is_missing_where_nobody_exited() -> None:
    got = run_stats(samples(fx.machine(fx.growing(), exits_per_s=0)), fx.MAX_ENTRIES)
    assert math.isnan(got["growth_entries_per_exit"])
    assert math.isnan(got["growth_per_exit_low"])
    assert got["growth_entries_per_fork"] > 0.9, "forks do not stand in for exits"


def test_growth_per_exited_task_ends_when_the_map_is_full() -> None:
    shape = fx.machine(fx.filling(slope=2000), exits_per_s=2000)
    got = run_stats(samples(shape), fx.MAX_ENTRIES)
    assert got["growth_entries_per_exit"] == pytest.approx(1, rel=0.1)


def test_measures_of_the_machine() -> None:
    got = run_stats(samples(fx.machine(fx.growing())), fx.MAX_ENTRIES)
    assert got["load_cpu_s"] == pytest.approx(45)
    assert got["context_switches_per_s"] == pytest.approx(300)
    assert got["wait_us_per_timeslice"] == pytest.approx(50)
    assert (got["cpu_busy_percent"], got["cpu_spread_percent"]) == (80, 12)
    assert got["percpu_kb"] == 4200


def test_correlation_against_the_definition() -> None:
    x, y = array(1, 2, 4, 7), array(2, 1, 5, 9)
    dx, dy = x - x.mean(), y - y.mean()
    r = (dx * dy).sum() / math.sqrt((dx * dx).sum() * (dy * dy).sum())
    assert estimators.correlation(x, y) == pytest.approx(r)
    with_gap = array(1, 2, np.nan, 4, 7), array(2, 1, 99, 5, 9)
    assert estimators.correlation(*with_gap) == pytest.approx(r)
    assert estimators.correlation(x, -2 * x) == pytest.approx(-1)


@pytest.mark.parametrize(
    "x, y",
    [
        (array(), array()),
        (array(1, 2), array(1, 2)),
        (array(5, 5, 5), array(1, 2, 3)),
        (array(1, 2, 3), array(5, 5, 5)),
        (array(1, 2, np.nan), array(1, 2, 3)),
    ],
)
def test_no_correlation_of_too_little_or_of_a_constant(
    x: estimators.Array, y: estimators.Array
) -> None:
    assert math.isnan(estimators.correlation(x, y))


def test_memory_follows_the_map_or_is_not_known() -> None:
    follows = run_stats(samples(fx.growing()), fx.MAX_ENTRIES)
    assert follows["memory_map_r"] > 0.999
    frame = samples(fx.growing()).assign(slab_bpf_kb=900.0)
    assert math.isnan(run_stats(frame, fx.MAX_ENTRIES)["memory_map_r"])


def test_a_known_plateau_is_found() -> None:
    got = run_stats(samples(fx.plateau(level=700)), fx.MAX_ENTRIES)
    assert abs(got["tail_entries_per_s"]) < 10
    assert got["entries_final"] == pytest.approx(740, abs=120)
    assert got["evictions"] == 6500
    assert got["longest_scan_us"] == 183
    assert got["scan_time_ms_per_s"] == pytest.approx(0.12)


def test_growth_is_measured_until_the_map_is_full() -> None:
    got = run_stats(samples(fx.filling(slope=2000)), fx.MAX_ENTRIES)
    assert got["full_at_s"] == 10
    assert got["growth_entries_per_s"] == pytest.approx(2000, rel=0.1)
    assert got["tail_entries_per_s"] == 0
    assert got["insert_failures"] > 0
    unlimited = run_stats(samples(fx.filling(slope=2000)))
    assert unlimited["growth_entries_per_s"] < 1000


def test_one_sample_is_no_slope() -> None:
    got = run_stats(samples(fx.growing()).head(1), fx.MAX_ENTRIES)
    assert got["entries_max"] == got["entries_final"]
    assert math.isnan(got["growth_entries_per_s"])
    assert math.isnan(got["forks_per_s"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=12)
)
def test_any_series_gives_measures_within_its_range(values: list[float | None]) -> None:
    frame = samples(fx.growing()).head(len(values)).copy()
    entries = np.array([np.nan if v is None else v for v in values])
    frame["map_entries"] = entries
    got = run_stats(frame, fx.MAX_ENTRIES)
    present = entries[np.isfinite(entries)]
    if not len(present):
        assert math.isnan(got["entries_max"]) and math.isnan(got["entries_mean"])
        return
    slack = 1e-9 * present.max()
    assert got["entries_max"] == present.max()
    assert present.min() - slack <= got["entries_mean"] <= present.max() + slack
    assert got["entries_final"] == present[-1]


def test_per_run_and_tidy(tmp_path: Path) -> None:
    data = load(fx.typical(tmp_path / "e", fx.arms(2)))
    runs = per_run(data)
    assert len(runs) == 4
    table = tidy(data, runs)
    assert list(table.columns) == TIDY
    assert len(table) == 4 * (len(MEASURES) + 1)
    grew = table[(table["metric"] == "entries_final") & (table["variant"] == "control")]
    assert sorted(grew["value"]) == sorted(
        runs[runs.variant == "control"].entries_final
    )


def test_median_curve_is_over_the_time_all_runs_cover() -> None:
    frame = pd.DataFrame(
        {
            "run": [1, 1, 1, 2, 2, 2],
            "timestamp": [0.0, 2.0, 4.0, 1.0, 2.0, 3.0],
            "map_entries": [0.0, 20.0, 40.0, 30.0, 40.0, 50.0],
        }
    )
    x, y = estimators.median_curve(frame, "map_entries")
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert y.tolist() == [20.0, 30.0, 40.0]
    assert len(estimators.median_curve(frame.head(0), "map_entries")[0]) == 0


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (7021.4, "7,021"),
        (0.98642, "0.986"),
        (12.34, "12.3"),
        (3, "3"),
        (-0.0625, "\u22120.0625"),
        (1.5e-7, "1.5e-07"),
        (999.9, "1,000"),
        (None, "\u2013"),
        (math.nan, "\u2013"),
        (math.inf, "\u2013"),
    ],
)
def test_numbers_as_people_read_them(value: float | None, text: str) -> None:
    assert number(value) == text


def test_columns_carry_their_unit_once() -> None:
    assert column("spawns", "spawns/s") == "spawns_per_s"
    assert column("forks", "forks/s") == "workload_forks_per_s", "a measure has it"
    assert column("rounds", "1/s") == "rounds_per_s"
    assert column("share", "%") == "share_percent"
    assert quantity(240, "1/s") == "240/s"
    assert quantity(1.25, "s") == "1.25 s"
    assert column("rounds", "s") == "rounds_s"
    assert column("round_s", "s") == "round_s"
    assert column("p99", "us") == "p99_us"
    assert column("score", "") == "score"
    assert slug("../stress-ng x") == "stress-ng_x"


def test_correlation_of_tiny_and_of_huge_numbers() -> None:
    x = np.array([1.0, 2.0, 3.0, 5.0])
    y = np.array([2.0, 1.0, 4.0, 6.0])
    expected = float(np.corrcoef(x, y)[0, 1])
    for factor in (1e-300, 1e-258, 1.0, 1e150):
        assert estimators.correlation(x * factor, y) == pytest.approx(expected)
