# SPDX-License-Identifier: GPL-2.0-only
"""Two experiments set against each other, and the gate over that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.compare import regression_gate
from analysis.compare.between_experiments import MetricChange, Versus, versus
from analysis.compare.effect import BETTER, EQUIVALENT, UNCLEAR, WORSE
from analysis.compare.regression_gate import Rules
from analysis.load.measures import TIMES
from analysis.report import between_table
from analysis.stats import estimators, significance
from analysis.stats.significance import BOTH, WELCH
from experiments import paths
from experiments.errors import ConfigError
from experiments.model import Metric, Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx
from tests.unit.commands.test_commands import invoke


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


# --- the test -------------------------------------------------------------------------


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


# --- the gate -------------------------------------------------------------------------


def change(estimate: float, low: float, high: float, **more: object) -> MetricChange:
    made = MetricChange(
        scheduler="s",
        workload="w",
        variant="v",
        metric="m",
        unit="s",
        source="workload",
        lower_is_better=True,
        n_a=5,
        n_b=5,
        a=1.0,
        b=1.0,
        kind="ratio",
        estimate=estimate,
        ci_low=low,
        ci_high=high,
        direction=UNCLEAR,
        p_adjusted=0.01,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (change(1.05, 1.02, 1.08), regression_gate.REGRESSED),
        (change(1.05, 1.02, 1.08, p_adjusted=0.06), regression_gate.UNDECIDED),
        (change(1.05, 0.99, 1.11), regression_gate.UNDECIDED),
        (change(1.02, 1.01, 1.04), regression_gate.UNDECIDED),
        (change(1.01, 1.00, 1.02), regression_gate.NO_REGRESSION),
        (change(0.5, 0.4, 0.6), regression_gate.NO_REGRESSION),
        (change(0.95, 0.92, 0.98, lower_is_better=False), regression_gate.REGRESSED),
        (
            change(1.05, 1.02, 1.08, lower_is_better=False),
            regression_gate.NO_REGRESSION,
        ),
        (change(5, 4, 6, kind="difference"), regression_gate.UNDECIDED),
        (change(1.05, 1.02, 1.08, lower_is_better=None), regression_gate.UNDECIDED),
        (change(1.05, 1.02, 1.08, p_adjusted=None), regression_gate.UNDECIDED),
        (change(1.05, None, None), regression_gate.UNDECIDED),  # type: ignore[arg-type]
    ],
)
def test_what_is_a_regression(of: MetricChange, said: str) -> None:
    assert regression_gate.judge(of, 0.03) == said


@pytest.mark.parametrize(
    "text",
    [
        *("", "3%", "regression=3", "regression=-3%", "x=3%", "undecided"),
        *("a,undecided", "regression=3%,regression=4%"),
    ],
)
def test_a_rule_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no rule"):
        regression_gate.rules(text)


def test_rules() -> None:
    assert regression_gate.rules("regression=2.5%") == Rules(0.025)
    assert regression_gate.rules("regression=0%") == Rules(0)
    assert regression_gate.rules("undecided, regression=3%") == Rules(0.03, True)
    with pytest.raises(ConfigError, match="below 100"):
        regression_gate.rules("regression=100%")


# --- what is missing ------------------------------------------------------------------


def crashed(path: Path, finished: Mapping[str, int], unit: str = "s") -> Experiment:
    """Of 8 runs of each arm, so many OK, the others EJECTED."""
    lab = fx.Lab(path, fx.arms(8), facts=fx.MACHINE)
    for spec in lab.specs:
        if spec.run > finished[spec.variant]:
            lab.broken(spec, Outcome.EJECTED, "a task starved")
            continue
        took = 2 + 0.01 * spec.run
        shape = fx.growing() if spec.variant == "control" else fx.plateau()
        scale = 1000 if unit == "ms" else 1
        metrics = [Metric("round", took * scale, unit, True)] if unit else []
        lab.ok(spec, shape, metrics)
    return lab.experiment


def cut(path: Path, keep: float) -> Experiment:
    """With all CSV files of test cut at the end of a line, or within one."""
    found = crashed(path, {"control": 8, "test": 8})
    for csv in (path / "scx_simple/test").glob("*.csv"):
        text = csv.read_text()
        lines = text.splitlines(keepends=True)
        csv.write_text("".join(lines[: int(len(lines) * keep)]) if keep else "")
    return found


def unfinished(path: Path) -> Experiment:
    lab = fx.Lab(path, fx.arms(8), facts=fx.MACHINE)
    for spec in lab.specs[:4]:
        lab.ok(spec, fx.growing(), [Metric("round", 2 + spec.run / 100, "s", True)])
    return lab.experiment


def without_entries(path: Path) -> Experiment:
    lab = fx.Lab(path, fx.arms(8), facts=fx.MACHINE)
    for spec in lab.specs:
        rows = [[c if i != 1 else "" for i, c in enumerate(row)] for row in
                fx.rows(fx.growing(), spec)]  # fmt: skip
        metrics = [Metric("round", 2 + spec.run / 100, "s", True)]
        lab.ok_text(spec, fx.csv_text(rows), metrics)
    return lab.experiment


ALL = {"control": 8, "test": 8}
#: What B is, and what the gate says is missing.
GONE: Mapping[str, tuple[Callable[[Path], Experiment], str]] = {
    "every test run ejected": (
        lambda p: crashed(p, {**ALL, "test": 0}),
        "of B only 0/8 (8 EJECTED) runs are data",
    ),
    "one of eight is left": (
        lambda p: crashed(p, {**ALL, "test": 1}),
        "of B only 1/8 (7 EJECTED) runs are data",
    ),
    "control crashed": (
        lambda p: crashed(p, {**ALL, "control": 0}),
        f"{TIMES} control: of B only 0/8 (8 EJECTED) runs are data",
    ),
    "everything crashed": (
        lambda p: crashed(p, {"control": 0, "test": 0}),
        "of B only 0/8 (8 EJECTED) runs are data",
    ),
    "the metric is gone": (lambda p: crashed(p, ALL, unit=""), "round is not in B"),
    "another unit": (
        lambda p: crashed(p, ALL, unit="ms"),
        "round is in s in A, in ms in B",
    ),
    "cut in the middle": (
        lambda p: cut(p, 0.5),
        "of B only 0/8 (8 set aside) runs are data",
    ),
    "empty files": (lambda p: cut(p, 0), "of B only 0/8 (8 set aside) runs are data"),
    "not finished": (unfinished, "of B only 2/8 (6 PENDING) runs are data"),
    "entries not counted": (without_entries, "entries_max is not in B"),
    "another arm": (
        lambda p: experiment(p, 2.0, variants=("control", "test-scan")),
        f"{TIMES} test: B has no such arm",
    ),
}


@pytest.mark.parametrize("name", GONE)
def test_what_is_missing_fails_the_gate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    make, words = GONE[name]
    crashed(tmp_path / "a", ALL)
    make(tmp_path / "b")
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%") == 1
    said = capsys.readouterr()
    assert words in said.err.replace("\n", " ")
    written = (tmp_path / "b-vs-a.md").read_text().replace("\\", "")
    assert words.split(": ")[-1] in written


@pytest.mark.parametrize(("lost_a", "code"), [(0, 1), (1, 0), (2, 0)])
def test_crashes_that_a_has_not_fail_the_gate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost_a: int,
    code: int,
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    crashed(tmp_path / "a", {**ALL, "test": 8 - lost_a})
    crashed(tmp_path / "b", {**ALL, "test": 7})
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%") == code
    said = capsys.readouterr()
    assert "7/8 (1 EJECTED)" in said.out
    assert ("what is left are survivors" in said.err) is bool(code)


def test_what_is_still_to_come_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    crashed(tmp_path / "a", ALL)
    lab = fx.Lab(tmp_path / "b", fx.arms(8), facts=fx.MACHINE)
    for spec in lab.specs[:12]:
        lab.ok(spec, fx.growing(), [Metric("round", 2 + spec.run / 100, "s", True)])
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%") == 1
    assert "2 runs of B are still to come" in capsys.readouterr().err


def test_a_throughput_of_nothing_is_a_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    for name, scale in (("a", 1.0), ("b", 0.0)):
        lab = fx.Lab(tmp_path / name, fx.arms(8), facts=fx.MACHINE)
        for spec in lab.specs:
            rate = scale * (400 + spec.run)
            lab.ok(spec, fx.growing(), [Metric("forks", rate, "1/s", False)])
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%") == 1


def test_no_spread_is_not_certainty(tmp_path: Path) -> None:
    for name in "ab":
        lab = fx.Lab(tmp_path / name, fx.arms(5), facts=fx.MACHINE)
        for spec in lab.specs:
            lab.ok(spec, fx.growing(), [Metric("round", 2.0, "s", True)])
    c = rounds(versus(Experiment(tmp_path / "a"), Experiment(tmp_path / "b")))
    assert c.ci_low is None and c.direction == UNCLEAR


def test_undecided_has_a_code_of_its_own_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    for name in ("a", "b"):
        experiment(tmp_path / name, 2.0, spread=0.2)
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%") == 0
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%,undecided") == 3
    assert f"undecided: scx_simple {TIMES} hackbench" in capsys.readouterr().err


# --- the command ----------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    experiment(tmp_path / "before", 2.0)
    experiment(tmp_path / "after", 2.2)
    return tmp_path


def test_a_regression_is_1_and_written_down(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(monkeypatch, "compare before after --fail-on regression=3%") == 1
    said = capsys.readouterr()
    assert "regressed by more than 3 %" in said.err
    assert "no fact that is known of both differs" in said.out
    text = (results / "after-vs-before.md").read_text()
    assert "| round |" in text and "| regressed |" in text
    assert "2 regressed" in text


def test_without_a_rule_or_the_other_way_round_it_is_0(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(monkeypatch, "compare before after") == 0
    assert "regressed" not in capsys.readouterr().out
    assert invoke(monkeypatch, "compare after before --fail-on regression=3%") == 0
    assert "0 regressed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("compare before aftr", "unknown experiment 'aftr'; did you mean 'after'"),
        ("compare before after --fail-on speed", "is no rule"),
        ("compare before before", "cannot be compared with itself"),
    ],
)
def test_mistakes(
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    words: str,
) -> None:
    assert invoke(monkeypatch, line) == 2
    assert words in capsys.readouterr().err
