# SPDX-License-Identifier: GPL-2.0-only
"""Comparisons are paired by block, and say only what their interval says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from analysis.compare.effect import BETTER, NEUTRAL, UNCLEAR, WORSE
from analysis.compare.within_experiment import (
    Comparison,
    compare,
    groups,
    is_test,
    workload_effects,
)
from analysis.load.frames import load
from analysis.load.tidy import per_run, tidy
from experiments.model import Metric, Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx

Value = Callable[[int, str], float]


def compared(experiment: Experiment) -> list[Comparison]:
    data = load(experiment)
    return compare(data, tidy(data, per_run(data)))


def of_metric(
    path: Path, value: Value, runs: int = 4, lower_is_better: bool = True
) -> Comparison:
    lab = fx.Lab(path / "e", fx.arms(runs))
    for spec in lab.specs:
        one = Metric("time", value(spec.block, spec.variant), "s", lower_is_better)
        lab.ok(spec, fx.growing(), [one])
    (found,) = workload_effects(compared(lab.experiment))
    return found


def faster(block: int, variant: str) -> float:
    """Blocks differ tenfold, test takes 10 % less in each, give or take 1 %."""
    wobble = (1, 1.01, 0.99, 1)[block % 4]
    return 10.0**block * (0.9 * wobble if variant == "test" else 1)


def test_a_ratio_is_taken_within_blocks(tmp_path: Path) -> None:
    c = of_metric(tmp_path, faster)
    assert (c.kind, c.n_blocks, c.n_control, c.n_test) == ("ratio", 4, 4, 4)
    assert c.estimate == pytest.approx(0.9, rel=0.01)
    assert c.ci_low is not None and c.ci_high is not None
    assert 0.87 < c.ci_low < 0.9 < c.ci_high < 0.93
    assert c.direction == BETTER
    assert c.null == 1


def test_direction_follows_the_metric(tmp_path: Path) -> None:
    assert of_metric(tmp_path, faster, lower_is_better=False).direction == WORSE


def test_noise_is_unclear(tmp_path: Path) -> None:
    noisy = {1: 1.2, 2: 0.8, 3: 1.1, 4: 0.95}
    c = of_metric(tmp_path, lambda b, v: noisy[b] if v == "test" else 1.0)
    assert c.direction == UNCLEAR


def test_values_that_are_not_positive_give_a_difference(tmp_path: Path) -> None:
    c = of_metric(tmp_path, lambda b, v: float(b - 1) + (v == "test") * (2 + b / 100))
    assert (c.kind, c.null) == ("difference", 0)
    assert c.estimate == pytest.approx(2.025)
    assert c.direction == WORSE
    assert c.in_words().startswith("+2.02 s (95 % interval +2.00 to ")


def test_one_block_has_no_interval_and_no_direction(tmp_path: Path) -> None:
    c = of_metric(tmp_path, faster, runs=1)
    assert c.ci_low is None and c.ci_high is None
    assert c.direction == UNCLEAR
    assert "no interval from 1 block" in c.in_words()
    assert "over 1 block." in c.sentence()


def test_only_blocks_with_both_arms_count(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    for spec in lab.specs:
        if (spec.variant, spec.run) == ("test", 2):
            lab.broken(spec, Outcome.TIMEOUT)
        else:
            lab.ok(spec, fx.growing())
    found = compared(lab.experiment)
    assert {(c.n_control, c.n_test, c.n_blocks) for c in found} == {(3, 2, 2)}


def test_no_shared_block_is_not_comparable(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2))
    lab.ok(lab.specs[0], fx.growing())
    lab.ok(lab.specs[3], fx.plateau())
    found = compared(lab.experiment)
    assert found
    assert all(c.estimate is None and c.direction == UNCLEAR for c in found)
    assert "not comparable" in found[0].in_words()


def test_each_strategy_is_compared_with_its_workloads_control(tmp_path: Path) -> None:
    arms: Sequence[str] = ("control", "test-scan", "test-exit", "default")
    specs = fx.arms(3, arms) + fx.arms(3, arms, workload="stress-ng")
    shapes = {
        "control": fx.growing(),
        "test-scan": fx.plateau(700),
        "test-exit": fx.plateau(200),
        "default": fx.plateau(0),
    }
    experiment = fx.Lab(tmp_path / "e", specs).all_ok(shapes)
    found = groups(load(experiment))
    assert [(g.workload, g.variant) for g in found] == [
        ("hackbench", "test-exit"),
        ("hackbench", "test-scan"),
        ("stress-ng", "test-exit"),
        ("stress-ng", "test-scan"),
    ]
    means = {
        (c.workload, c.variant): c
        for c in compared(experiment)
        if c.metric == "entries_mean"
    }
    for (_, variant), c in means.items():
        level = 200 if variant == "test-exit" else 700
        assert c.test == pytest.approx(level, abs=120)
        assert c.control == pytest.approx(3580, rel=0.05)
        assert c.direction == BETTER


def test_forks_are_neither_good_nor_bad(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))

    def slow(rate: float) -> fx.Shape:
        def shape(t, rng):  # type: ignore[no-untyped-def]
            values = fx.growing()(t, rng)
            return {**values, "forks": t * rate}

        return shape

    for spec in lab.specs:
        rate = (200 if spec.variant == "test" else 240) + spec.run
        lab.ok(spec, slow(rate), [])
    forks = [c for c in compared(lab.experiment) if c.metric == "forks_per_s"]
    assert [c.direction for c in forks] == [NEUTRAL]


def test_a_metric_named_as_a_measure_stays_apart(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2))
    for spec in lab.specs:
        lab.ok(spec, fx.growing(), [Metric("forks_per_s", 1.0, "forks/s", False)])
    both = [c for c in compared(lab.experiment) if c.metric == "forks_per_s"]
    assert sorted((c.source, round(c.control)) for c in both) == [
        ("samples", 240),
        ("workload", 1),
    ]


def test_an_unmeasured_column_is_not_compared(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2))
    for spec in lab.specs:
        rows = [
            [c if i != 12 else "" for i, c in enumerate(r)]
            for r in fx.rows(fx.growing(), spec)
        ]
        lab.ok_text(spec, fx.csv_text(rows))
    found = compared(lab.experiment)
    assert "map_memlock_kb" not in {c.metric for c in found}
    assert all(not math.isnan(c.control) for c in found)


@pytest.mark.parametrize(
    "variant, expected",
    [("test", True), ("test-scan", True), ("control", False), ("default", False)],
)
def test_which_variants_are_tests(variant: str, expected: bool) -> None:
    assert is_test(variant) is expected
