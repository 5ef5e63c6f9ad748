# SPDX-License-Identifier: GPL-2.0-only
"""Two experiments set against each other, and the gate over that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.compare import regression_gate
from analysis.compare.between_experiments import MetricChange, Versus, versus
from analysis.compare.effect import BETTER, EQUIVALENT, UNCLEAR, WORSE
from analysis.load.measures import TIMES
from analysis.report import between_table
from analysis.stats import estimators, significance
from analysis.stats.significance import BOTH, WELCH
from experiments.model import Metric, Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx


def experiment(
    path: Path,
    seconds: float,
    runs: int = 5,
    variants: tuple[str, ...] = ("control", "test"),
    facts: Mapping[str, object] = fx.MACHINE,
    spread: float = 0.005,
) -> Experiment:
    """Of which each round takes `seconds`, give or take `spread` of it."""
    lab = fx.Lab(path, fx.arms(runs, variants), facts=facts)
    for spec in lab.specs:
        noise = np.random.default_rng([*path.name.encode(), *spec.label.encode()])
        took = seconds * (1 + spread * noise.standard_normal())
        shape = fx.growing() if spec.variant == "control" else fx.plateau()
        lab.ok(spec, shape, [Metric("round", took, "s", True)])
    return lab.experiment


def between(tmp_path: Path, a: float, b: float, **more: int) -> Versus:
    of_a = experiment(tmp_path / "a", a, **more)  # type: ignore[arg-type]
    return versus(of_a, experiment(tmp_path / "b", b, **more))  # type: ignore[arg-type]


def rounds(found: Versus, variant: str = "test") -> MetricChange:
    (c,) = (c for c in found.changes if (c.metric, c.variant) == ("round", variant))
    return c


def test_a_ratio_is_b_to_a(tmp_path: Path) -> None:
    c = rounds(between(tmp_path, 2.0, 2.2))
    assert (c.kind, c.n_a, c.n_b, c.direction) == ("ratio", 5, 5, WORSE)
    assert c.estimate == pytest.approx(1.1, rel=0.01)
    assert c.estimate is not None
    assert c.ci_low is not None and c.ci_high is not None
    assert 1.05 < c.ci_low < c.estimate < c.ci_high < 1.15
    assert c.method == BOTH and c.family_size == 3
    assert c.p_adjusted == pytest.approx(3 * 2 / 252)
    assert rounds(between(tmp_path / "2", 2.2, 2.0)).direction == BETTER


def test_the_measures_of_the_runs_are_there_for_every_variant(tmp_path: Path) -> None:
    found = between(tmp_path, 2.0, 2.0)
    assert {(c.variant, c.metric) for c in found.changes} == {
        (variant, metric)
        for variant in ("control", "test")
        for metric in ("round", "entries_max", "growth_entries_per_s")
    }


def test_no_change_is_equivalent_where_it_can_be_told(tmp_path: Path) -> None:
    assert rounds(between(tmp_path, 2.0, 2.0)).direction == EQUIVALENT


def test_one_run_each_is_unclear_and_no_pass(tmp_path: Path) -> None:
    c = rounds(between(tmp_path, 2.0, 3.0, runs=1))
    assert c.estimate == pytest.approx(1.5, rel=0.05)
    assert (c.ci_low, c.ci_high, c.p_adjusted) == (None, None, None)
    assert c.direction == UNCLEAR
    assert regression_gate.judge(c, 0.03) == regression_gate.UNDECIDED


def test_runs_that_are_no_data_do_not_count(tmp_path: Path) -> None:
    of_a = experiment(tmp_path / "a", 2.0)
    lab = fx.Lab(tmp_path / "b", fx.arms(5))
    for spec in lab.specs:
        if spec.run == 3:
            lab.broken(spec, Outcome.EJECTED, "why")
        else:
            lab.ok(spec, fx.growing(), [Metric("round", 2.0, "s", True)])
    assert {(c.n_a, c.n_b) for c in versus(of_a, lab.experiment).changes} == {(5, 4)}


def test_what_differs_is_named(tmp_path: Path) -> None:
    other = {**fx.MACHINE, "kernel_sha256": "99ff", "added": 1}
    of_a = experiment(tmp_path / "a", 2.0, runs=2)
    of_b = experiment(
        tmp_path / "b", 2.0, runs=2, facts=other, variants=("control", "test-scan")
    )
    found = versus(of_a, of_b)
    assert found.facts == {"kernel_sha256": ("86a2", "99ff"), "added": ("absent", "1")}
    assert "kernel_sha256: 86a2 -> 99ff" in between_table.fact_lines(found)
    assert between_table.missing_lines(found) == [
        f"missing: scx_simple {TIMES} hackbench {TIMES} test: B has no such arm",
        f"only in b: scx_simple {TIMES} hackbench {TIMES} test-scan",
    ]


def test_few_runs_are_tested_by_welch_because_orders_could_not_reject() -> None:
    a, b = np.array([1.0, 1.1, 0.9]), np.array([2.0, 2.1, 1.9])
    assert significance.unpaired_family([(a, b)])[0].method == WELCH
    a, b = np.append(a, 1.05), np.append(b, 2.05)
    assert significance.unpaired_family([(a, b)])[0].method == BOTH
    assert significance.unpaired_family([(a, b)] * 2)[0].method == WELCH


def test_runs_without_any_spread() -> None:
    same, other = np.full(5, 2.0), np.full(5, 3.0)
    equal, differ = significance.unpaired_family([(same, same), (same, other)])
    assert equal.p == 1
    assert differ.p == pytest.approx(2 / 252)
    assert estimators.welch_interval(same, other) == (1, 1, 1)
    spread = np.array([2.9, 3.0, 3.1])
    low, high = estimators.welch_interval(same, spread)[1:]
    assert 0.5 < low < 1 < high < 1.5
    assert significance.unpaired_family([(same, spread)])[0].p < 0.05


def test_unlike_spreads_and_numbers_do_not_make_effects() -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(100):
        a, b = 5 * rng.standard_normal(4), rng.standard_normal(12)
        wrong += significance.unpaired_family([(a, b)])[0].p <= 0.05
    assert wrong <= 9


def test_no_spread_is_not_certainty(tmp_path: Path) -> None:
    for name in "ab":
        lab = fx.Lab(tmp_path / name, fx.arms(5), facts=fx.MACHINE)
        for spec in lab.specs:
            lab.ok(spec, fx.growing(), [Metric("round", 2.0, "s", True)])
    c = rounds(versus(Experiment(tmp_path / "a"), Experiment(tmp_path / "b")))
    assert c.ci_low is None and c.direction == UNCLEAR
