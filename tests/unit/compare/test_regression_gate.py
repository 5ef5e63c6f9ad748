# SPDX-License-Identifier: GPL-2.0-only
"""The rules that a pipeline stops at, and the command that does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.compare import regression_gate
from analysis.compare.between_experiments import MetricChange
from analysis.compare.effect import UNCLEAR
from analysis.compare.regression_gate import Rules
from analysis.load.measures import TIMES
from experiments import paths
from experiments.errors import ConfigError
from tests.unit.commands.test_commands import invoke
from tests.unit.compare.test_between_experiments import experiment


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


def test_undecided_has_a_code_of_its_own_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    for name in ("a", "b"):
        experiment(tmp_path / name, 2.0, spread=0.2)
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%") == 0
    assert invoke(monkeypatch, "compare a b --fail-on regression=3%,undecided") == 3
    assert f"undecided: scx_simple {TIMES} hackbench" in capsys.readouterr().err


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
