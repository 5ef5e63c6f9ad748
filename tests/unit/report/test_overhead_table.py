# SPDX-License-Identifier: GPL-2.0-only
"""What runs say of their measuring and of memory reaches the report."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import aggregate_experiment
from analysis.load.frames import load
from analysis.load.tidy import per_run
from analysis.report.overhead_table import measuring
from analysis.report.runs_table import HEADING, rows
from analysis.verdicts.memory import memory
from tests.unit import analysis_fixtures as fx
from tests.unit.report.test_html import Page, check_self_contained, printed


def sampling(cpu_us: float | None, wall_us_max: float = 900.0) -> dict[str, object]:
    cost = {"samples": 16, "cpu_us": cpu_us, "wall_us": 300.0}
    return {"sampling": {"slab": {**cost, "wall_us_max": wall_us_max}}}


def lab(path: Path, *facts: dict[str, object]) -> fx.Lab:
    made = fx.Lab(path / "e", fx.arms(len(facts), ("control",)))
    for spec, of_run in zip(made.specs, facts, strict=True):
        made.ok(spec, fx.growing(), facts=of_run)
    return made


def test_samplers_are_medians_over_runs_and_the_slowest_sample(tmp_path: Path) -> None:
    slowest = sampling(990, wall_us_max=5000)
    made = lab(tmp_path, sampling(100), sampling(140), slowest, {})
    (row,) = measuring(load(made.experiment), None).samplers
    assert (row.sampler, row.n_runs) == ("slab", 3)
    assert (row.cpu_us, row.wall_us, row.wall_us_max) == (140, 300, 5000)


def test_a_cost_that_was_not_measured_is_missing_not_zero(tmp_path: Path) -> None:
    data = load(lab(tmp_path, sampling(None), sampling(None)).experiment)
    (row,) = measuring(data, None).samplers
    assert math.isnan(row.cpu_us) and row.wall_us == 300


def test_lateness_and_the_share_of_a_cpu(tmp_path: Path) -> None:
    late = [
        {"lateness_us": {"p50": p, "p99": 10 * p, "max": 20 * p}, "agent_cpu_s": cpu}
        for p, cpu in ((10, 0.3), (20, 0.6), (90, 3.0))
    ]
    found = measuring(load(lab(tmp_path, *late, {}).experiment), None)
    assert found.lateness == (
        "A sample began 20 us after its deadline (p50), 200 us at p99, both medians "
        "of 3 runs; the latest of all 1,800 us."
    )
    assert "used 2 % of one CPU (median of 3 runs; at most 10 %)" in found.agent


def test_runs_of_before_say_nothing_of_it(tmp_path: Path) -> None:
    found = measuring(load(lab(tmp_path, {}).experiment), None)
    assert (found.samplers, found.lateness, found.agent) == ([], "", "")


def frame(*r: float, variant: str = "control") -> pd.DataFrame:
    rows = {"scheduler": "s", "workload": "w", "variant": variant, "memory_map_r": r}
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    "r, said",
    [
        ((0.99, 0.98, 1.0), "Memory follows the map: r = 0.990 (median of 3 control"),
        ((0.99, 0.2, 0.3), "Memory does not follow the map: r = 0.300"),
        ((0.95,), "Memory follows the map: r = 0.950 (1 control run)."),
        ((0.95, np.nan), "(1 control run); not known in 1."),
        ((np.nan, np.nan), "is not known: entries or memory were constant"),
    ],
)
def test_memory_follows_the_map_or_not(r: tuple[float, ...], said: str) -> None:
    (found,) = memory(frame(*r))
    assert said in found.sentence()


def test_memory_is_judged_by_control_alone() -> None:
    both = pd.concat([frame(0.99), frame(0.1, variant="test")])
    (found,) = memory(both)
    assert found.r == (0.99,)
    assert memory(frame(0.1, variant="test")) == []


def test_every_run_has_a_row_with_intervals(tmp_path: Path) -> None:
    data = load(fx.typical(tmp_path / "e", fx.arms(2)))
    runs = per_run(data)
    found = list(rows(data, runs))
    assert [r.label for r in found] == [s.label for s in data.manifest.specs]
    assert all(len(r.cells) == len(HEADING) for r in found)
    value, interval = found[0].cells[0]
    assert value.endswith(" per fork") and " to " in interval
    assert found[0].cells[-1] == ("\u2013", ""), "no latency was measured"


def test_a_row_tells_growth_per_exit_and_p99(tmp_path: Path) -> None:
    made = fx.Lab(tmp_path / "e", fx.arms(1, ("control",)))
    (spec,) = made.specs
    shape = fx.machine(fx.growing(slope=200, noise=0), exits_per_s=250)
    made.ok(spec, shape, fx.latency_metrics(spec))
    data = load(made.experiment)
    (row,) = rows(data, per_run(data))
    assert row.cells[0][0] in ("0.800", "0.8")
    p99 = float(np.percentile(fx.waits_us(spec), 99))
    assert row.cells[-1][0] == f"{p99:,.0f}"


def test_one_sample_has_no_slope_in_its_row(tmp_path: Path) -> None:
    spec = fx.spec(duration_s=2)
    made = fx.Lab(tmp_path / "e", [spec])
    made.ok_text(spec, fx.csv_text(fx.rows(fx.growing(), spec)[:1]))
    data = load(made.experiment)
    (row,) = rows(data, per_run(data))
    assert row.cells[0] == ("\u2013", "")


def test_all_of_it_is_in_the_report_and_on_the_terminal(tmp_path: Path) -> None:
    made = fx.Lab(tmp_path / "e", fx.arms(2))
    for spec in made.specs:
        shape = fx.growing() if spec.variant == "control" else fx.plateau()
        facts = {**fx.MEASURING, **fx.latency(spec)}
        made.ok(spec, fx.machine(shape), fx.latency_metrics(spec), facts=facts)
    done = aggregate_experiment(made.experiment)
    page = Page(done.report.read_text())
    check_self_contained(page)
    for said in (
        "What measuring costs",
        "CPU of a sample",
        "latest of all 1,500 us",
        "used 1 % of one CPU",
        "Every run",
        "4 runs that are data",
        "growth per exited task",
        "Memory follows the map: r = 1.000",
        "CPU time of the workload",
    ):
        assert said in page.text, said
    assert "Memory follows the map" in printed(done)
    assert "Memory follows the map" in (tmp_path / "e/summary.md").read_text()
    runs = pd.read_csv(tmp_path / "e" / "runs.csv")
    assert len(runs) == 4 and runs["growth_per_exit_low"].notna().all()


def test_measures_that_no_run_has_are_no_columns_of_the_report(tmp_path: Path) -> None:
    page = Page(aggregate_experiment(fx.typical(tmp_path / "e")).report.read_text())
    assert "CPU time of the workload" not in page.text
    assert "growth per exited task" in page.text
    assert "growth per fork" not in page.text
