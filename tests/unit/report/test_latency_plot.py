# SPDX-License-Identifier: GPL-2.0-only
"""Histograms of waits: shares add up, gaps stay gaps, and a figure of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import aggregate_experiment
from analysis.load import waits
from analysis.load.frames import Data, load
from analysis.load.run_facts import read
from analysis.report import figures, latency_plot
from analysis.report.sketch import Text
from tests.unit import analysis_fixtures as fx

WORDS = Text("p99: control 3 us", "1 run")


def buckets(*rows: tuple[float, float, int]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["from_us", "to_us", "count"])
    return frame.assign(scheduler="s", workload="w", variant="control", run=1, block=1)


def experiment(path: Path, variants: tuple[str, ...] = ("control", "test")) -> fx.Lab:
    lab = fx.Lab(path / "e", fx.arms(2, variants))
    for spec in lab.specs:
        median_us = 40 if spec.variant == "control" else 80
        shape = fx.machine(fx.growing())
        metrics = fx.latency_metrics(spec, median_us)
        lab.ok(spec, shape, metrics, facts=fx.latency(spec, median_us))
    return lab


def test_shares_are_per_octave_and_add_up() -> None:
    drawn = latency_plot.curve(buckets((4, 5, 30), (5, 6, 20), (8, 16, 50)))
    assert drawn.edges_us.tolist() == [4, 5, 6, 8, 16]
    share = drawn.percent_per_octave * np.diff(np.log2(drawn.edges_us))
    assert share == pytest.approx([30, 20, 0, 50])
    assert drawn.percent_per_octave[3] == pytest.approx(50), "8 to 16 us is an octave"
    assert drawn.percent_longer == pytest.approx([100, 70, 50, 50, 0])


def test_even_waits_draw_no_saw() -> None:
    # As many waits in every octave: on a logarithmic axis that is a level line.
    rng = np.random.default_rng(3)
    waits = 2 ** rng.uniform(4, 12, 400_000)
    found = fx.histogram(waits)
    rows = zip(found["from_us"], found["to_us"], map(int, found["count"]), strict=True)
    level = latency_plot.curve(buckets(*rows)).percent_per_octave
    assert level == pytest.approx(np.full(len(level), 100 / 8), rel=0.05)


def test_runs_are_summed_by_their_waits_not_averaged() -> None:
    few, many = buckets((1, 2, 10)), buckets((2, 4, 90))
    drawn = latency_plot.curve(pd.concat([few, many]))
    assert drawn.percent_longer == pytest.approx([100, 90, 0])


def test_buckets_from_zero_and_without_end_have_a_place() -> None:
    drawn = latency_plot.curve(buckets((0, 1, 5), (64, np.inf, 5)))
    assert drawn.edges_us.tolist() == [0.5, 1, 64, 128]
    assert np.isfinite(drawn.percent_per_octave).all()


def test_histograms_are_of_the_runs_that_have_them(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    first, second, third = lab.specs[:3]
    lab.ok(first, fx.growing(), facts=fx.latency(first))
    lab.ok(second, fx.growing())
    nobody: dict[str, object] = {
        "run_queue_latency": {"from_us": [], "to_us": [], "count": []}
    }
    lab.ok(third, fx.growing(), facts=nobody)
    found = waits.histograms(load(lab.experiment))
    assert list(found.columns) == waits.COLUMNS
    assert set(found["variant"]) == {"control"} and set(found["run"]) == {1}
    assert found["count"].sum() == 20_000


def test_the_figure_says_the_p99_of_each_variant(tmp_path: Path) -> None:
    data = load(experiment(tmp_path).experiment)
    drawn = {d.name.rsplit("hackbench_")[1]: d for d in figures.draw(data, [])}
    assert re.search(
        r"p99 of the wait for a CPU: control \d,\d{3} us, test \d,\d{3} us",
        drawn["latency"].finding,
    )
    assert drawn["latency_p99"].finding.startswith(
        "p99 of the wait between two samples"
    )
    assert "latencies" in drawn and "metrics" not in drawn


def test_without_the_fact_nothing_is_drawn(tmp_path: Path) -> None:
    done = aggregate_experiment(fx.typical(tmp_path / "e", fx.arms(2)))
    assert not list((done.report.parent / "plots").glob("*latenc*"))


def test_without_the_metric_the_figure_counts_the_waits(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(1))
    for spec in lab.specs:
        lab.ok(spec, fx.growing(), facts=fx.latency(spec))
    (found,) = (
        d for d in figures.draw(load(lab.experiment), []) if d.name.endswith("_latency")
    )
    assert found.finding == "40,000 waits for a CPU"


@pytest.mark.parametrize(
    "frame",
    [buckets((3, 4, 1)), buckets((0, 1, 1), (1e6, np.inf, 1))],
    ids=["one wait", "wide"],
)
def test_odd_histograms_are_drawn(frame: pd.DataFrame) -> None:
    svg = latency_plot.draw(frame, WORDS)
    assert ET.fromstring(svg).tag.endswith("svg")
    assert latency_plot.draw(frame, WORDS) == svg, "the same data give the same bytes"


WRONG = {
    "lengths": {"from_us": [1, 2], "to_us": [2], "count": [1, 1]},
    "backwards": {"from_us": [2], "to_us": [1], "count": [1]},
    "negative": {"from_us": [1], "to_us": [2], "count": [-1]},
    "words": {"from_us": ["a"], "to_us": [2], "count": [1]},
    "a list": [1, 2],
}


@pytest.mark.parametrize("fact", WRONG.values(), ids=WRONG)
def test_a_fact_in_another_form_is_named_and_the_run_stays(
    tmp_path: Path, fact: object
) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(1))
    for spec in lab.specs:
        facts = {**fx.MEASURING, "run_queue_latency": fact}
        lab.ok(spec, fx.growing(), facts=facts)
    data: Data = load(lab.experiment)
    assert data.runs["used"].all() and len(data.set_aside) == 2
    assert data.set_aside[0].file.endswith("_run1.json: run_queue_latency")
    assert data.set_aside[0].reason
    assert waits.histograms(data).empty
    assert (data.agent["agent_cpu_s"] == 0.3).all() and len(data.agent) == 2


def test_facts_of_an_older_run_are_absent() -> None:
    found, wrong = read({"map": "tasks", "wall_s": 60.7})
    assert wrong == {}
    assert found.run_queue_latency is None and found.agent_cpu_s is None
    assert found.lateness_us is None and found.sampling == {}
