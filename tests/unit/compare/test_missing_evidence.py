# SPDX-License-Identifier: GPL-2.0-only
"""What is missing in B fails the gate, whatever is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from analysis.load.measures import TIMES
from experiments import paths
from experiments.model import Metric, Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx
from tests.unit.commands.test_commands import invoke
from tests.unit.compare.test_between_experiments import experiment


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
