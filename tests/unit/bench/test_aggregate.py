# SPDX-License-Identifier: GPL-2.0-only
"""What the bench of the analysis measures is a real experiment, and really measured."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.load.frames import load
from experiments.bench import aggregate, synthetic
from experiments.plan.config import default_columns
from experiments.store.experiment import Experiment


def test_made_up_runs_are_sound_and_differ(tmp_path: Path) -> None:
    data = load(synthetic.make(tmp_path / "e", 8))
    assert data.set_aside == ()
    assert data.runs["used"].all() and len(data.runs) == 8
    assert set(data.runs["workload"]) == {"hackbench", "stress-ng"}
    assert data.measured["growth_entries_per_s"].nunique() == 8
    assert len(data.histograms) == 8
    with data.experiment.files(data.manifest.specs[0]).csv.open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == default_columns()
    assert len(rows) == 1 + synthetic.ROWS
    assert {len(row) for row in rows} == {len(default_columns())}


def test_rows_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second aggregate comes after one changed run, the first after none."""
    asked = []

    def timed(what: str, argv: Sequence[str], cwd: Path) -> dict[str, object]:
        python = argv[-1] in (aggregate._READ, aggregate._AGGREGATE)
        cached = len(list((cwd / ".cache").glob("*"))) if python else 0
        asked.append((what, cached))
        if python and not cached:
            load(Experiment(cwd))
        return {"what": what, "wall_s": float(len(asked)), "cpu_s": 1.0, "peak_mb": 9}

    monkeypatch.setattr(aggregate, "_timed", timed)
    rows = aggregate.measure(sizes=(8,))
    assert asked == [
        (aggregate.COMPILE, 0),
        (aggregate.AWK, 0),
        (aggregate.PANDAS, 0),
        (aggregate.READ_FIRST, 0),
        (aggregate.READ_SECOND, 1),
        (aggregate.FIRST, 0),
        (aggregate.SECOND, 1),
    ]
    assert {tuple(row) for row in rows} == {
        ("what", "runs", "wall_s", "cpu_s", "peak_mb")
    }
    ratios = aggregate.ratios(rows)
    assert ratios[0] == {"ratio": "pandas, a loop / aggregate", "runs": 8, "times": 0.5}
    assert len(ratios) == 5
