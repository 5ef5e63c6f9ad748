# SPDX-License-Identifier: GPL-2.0-only
"""The ledger finds the cost of a sampler, and is that of the right machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.aggregate import aggregate_experiment
from analysis.compare.overhead import COLUMNS, newest_ledger, read_ledger
from analysis.report.overhead_table import view
from experiments.model import Metric, Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx
from tests.unit.report.test_html import Page, check_self_contained, printed

LEDGER = {"treatment": "samplers"}


def begun(experiment: Experiment, created: str) -> Experiment:
    experiment.update(created=created)
    return experiment


def of(table: pd.DataFrame, **keys: str) -> dict[Any, Any]:
    for name, value in keys.items():
        table = table[table[name] == value]
    (row,) = (row for _, row in table.iterrows())
    return row.to_dict()


def test_the_cost_of_each_sampler_is_found(tmp_path: Path) -> None:
    table = read_ledger(fx.ledger(tmp_path)).table
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * 3 * 2, "workloads x samplers x metrics"
    slab = of(table, workload="hackbench", sampler="slab", metric="round")
    assert slab["ratio"] == pytest.approx(1.02, abs=0.004)
    assert 1 < slab["low"] < slab["ratio"] < slab["high"] < 1.04
    assert (slab["n_blocks"], slab["direction"]) == (4, "worse")
    latency = of(table, workload="hackbench", sampler="latency", metric="round")
    assert latency["low"] < 1 < latency["high"] and latency["direction"] == "equivalent"
    cpu = of(table, workload="stress-ng", sampler="all", metric="load_cpu_s")
    assert (cpu["ratio"], cpu["unit"]) == (1, "s")


def test_samplers_are_in_order_and_sets_of_them_last(tmp_path: Path) -> None:
    costs = {"all": 1.1, "slab": 1.0, "default": 1.1, "latency": 1.0}
    ledger = read_ledger(fx.ledger(tmp_path, costs=costs, runs=1))
    order = ["latency", "slab", "default", "all"]
    assert list(ledger.table["sampler"].unique()) == order
    shown = view(ledger)
    assert shown.samplers == order
    assert [r.metric for r in shown.rows] == ["load_cpu_s (s)", "round (s)"] * 2
    assert all(len(r.cells) == 4 for r in shown.rows)


def test_what_control_cannot_have_is_no_row(tmp_path: Path) -> None:
    specs = fx.arms(2, ("control", "test-latency"))
    lab = fx.Lab(tmp_path / "ledger-1", specs, config=LEDGER)
    for spec in specs:
        metrics = [Metric("round", 2.0, "s", True)]
        if spec.variant != "control":
            metrics += fx.latency_metrics(spec)
        lab.ok(spec, fx.growing(), metrics)
    assert set(read_ledger(lab.experiment).table["metric"]) == {"round"}


def test_without_positive_values_there_is_no_ratio(tmp_path: Path) -> None:
    specs = fx.arms(2, ("control", "test-slab"))
    lab = fx.Lab(tmp_path / "ledger-1", specs, config=LEDGER)
    for spec in specs:
        lab.ok(spec, fx.growing(), [Metric("overrun", spec.block - 1.0, "ms", True)])
    ledger = read_ledger(lab.experiment)
    (row,) = ledger.table.to_dict("records")
    assert math.isnan(row["ratio"]) and math.isnan(row["low"]) and row["n_blocks"] == 2
    assert ledger.cell(row) == ("\u2013", "\u2013")


def test_one_block_has_no_interval(tmp_path: Path) -> None:
    ledger = read_ledger(fx.ledger(tmp_path, runs=1))
    row = of(ledger.table, workload="hackbench", sampler="all", metric="round")
    assert row["ratio"] == pytest.approx(1.05, abs=0.02) and math.isnan(row["low"])
    assert ledger.cell(row)[1] == "\u2013"


def test_a_change_is_written_in_per_cent(tmp_path: Path) -> None:
    cell = read_ledger(fx.ledger(tmp_path)).cell
    assert cell({"ratio": 1.0123, "low": 0.998, "high": 1.0268}) == (
        "+1.2",
        "\u22120.2 to +2.7",
    )
    assert cell({"ratio": 0.99999, "low": None, "high": None})[0] == "+0.0"


def test_the_newest_ledger_of_this_machine_counts(tmp_path: Path) -> None:
    begun(fx.ledger(tmp_path, "ledger-a", {"slab": 1.5}), "2026-01-02T00:00:00+00:00")
    begun(fx.ledger(tmp_path, "ledger-z", {"slab": 1.1}), "2026-01-01T00:00:00+00:00")
    other = {**fx.MACHINE, "accel": "kvm"}
    fx.ledger(tmp_path, "ledger-kvm", facts=other)
    fx.typical(tmp_path / "no-ledger", fx.arms(1))
    found = newest_ledger(tmp_path, fx.MACHINE)
    assert found is not None and found.name == "ledger-a"
    assert found.created == "2026-01-02T00:00:00+00:00"
    assert found.table["ratio"].max() == pytest.approx(1.5, rel=0.01)
    kvm = newest_ledger(tmp_path, other)
    assert kvm is not None and kvm.name == "ledger-kvm"


OTHERS = {
    "kernel": {"kernel_sha256": "beef"},
    "accelerator": {"accel": "kvm"},
    "CPUs": {"vm": {"cpus": 2, "memory_mb": 2048}},
    "memory": {"vm": {"cpus": 4, "memory_mb": 1024}},
    "no VM": {"vm": None},
    "host": {"host": {"cpu": "another", "cpus": 2}},
    "host's CPUs": {"host": {"cpu": "a CPU", "cpus": 64}},
}


@pytest.mark.parametrize("facts", OTHERS.values(), ids=OTHERS)
def test_a_ledger_of_another_machine_does_not_count(
    tmp_path: Path, facts: dict[str, object]
) -> None:
    fx.ledger(tmp_path, runs=1)
    assert newest_ledger(tmp_path, {**fx.MACHINE, **facts}) is None


def test_what_does_not_matter_to_the_cost_may_differ(tmp_path: Path) -> None:
    fx.ledger(tmp_path, runs=1)
    vm = {"cpus": 4, "memory_mb": 2048, "accel": "tcg", "kernel": "/a/bzImage"}
    host = {"cpu": "a CPU", "cpus": 2, "load_1min": 9.0}
    facts = {**fx.MACHINE, "vm": vm, "host": host, "git": "another"}
    assert newest_ledger(tmp_path, facts) is not None


def test_an_unknown_machine_has_no_ledger(tmp_path: Path) -> None:
    fx.ledger(tmp_path, facts={}, runs=1)
    assert newest_ledger(tmp_path, {}) is None
    assert newest_ledger(tmp_path / "nowhere", fx.MACHINE) is None


def test_ledgers_that_cannot_be_read_or_say_nothing_are_passed_over(
    tmp_path: Path,
) -> None:
    begun(fx.ledger(tmp_path, "ledger-old", runs=1), "2026-01-01T00:00:00+00:00")
    specs = fx.arms(1, ("control", "test-all"))
    empty = fx.Lab(tmp_path / "ledger-new", specs, config=LEDGER, facts=fx.MACHINE)
    empty.broken(specs[0], Outcome.FAILED)
    broken = fx.ledger(tmp_path, "ledger-x", runs=1)
    manifest = json.loads(broken.manifest_path.read_text())
    broken.manifest_path.write_text(json.dumps({**manifest, "schema": 99}))
    found = newest_ledger(tmp_path, fx.MACHINE)
    assert found is not None and found.name == "ledger-old"


def test_a_ledger_has_its_table_instead_of_verdicts(tmp_path: Path) -> None:
    done = aggregate_experiment(fx.ledger(tmp_path))
    assert done.verdicts == () and done.memory == () and done.ledger is not None
    folder = done.report.parent
    table = pd.read_csv(folder / "ledger.csv")
    assert list(table.columns) == COLUMNS and len(table) == 12
    page = Page(done.report.read_text())
    check_self_contained(page)
    assert "What each sampler costs" in page.text and "Verdicts" not in page.text
    assert "its figures are above" in page.text
    assert "there is no claim to judge" not in page.text
    plots = {p.name for p in (folder / "plots").iterdir()}
    assert plots == {
        *("scx_simple_hackbench_in_order.svg", "scx_simple_hackbench_metrics.svg"),
        *("scx_simple_stress-ng_in_order.svg", "scx_simple_stress-ng_metrics.svg"),
    }
    shown = printed(done)
    assert "slab" in shown and "+5." in shown and "entries" not in shown


def test_control_that_sampled_nothing_but_time_is_enough(tmp_path: Path) -> None:
    specs = fx.arms(3, ("control", "test-all"))
    lab = fx.Lab(tmp_path / "ledger-1", specs, config=LEDGER)
    for spec in specs:
        times = "".join(f"{t:.3f},,,,\n" for t in range(0, 31, 2))
        text = "timestamp,map_entries,free_mem_kb,slab_bpf_kb,evictions\n" + times
        round_s = 2.0 + 0.001 * spec.block + 0.1 * (spec.variant == "test-all")
        metrics = [Metric("round", round_s, "s", True)]
        if spec.variant == "control":
            lab.ok_text(spec, text, metrics, facts={"load_cpu_s": 20.0})
        else:
            shape = fx.machine(fx.growing())  # whose last sample has 45 s
            lab.ok(spec, shape, metrics, facts={"load_cpu_s": 22.0})
    done = aggregate_experiment(lab.experiment)
    assert done.data.set_aside == () and done.ledger is not None
    cpu, rounds = done.ledger.table.to_dict("records")
    assert (rounds["metric"], rounds["n_blocks"]) == ("round", 3)
    assert rounds["ratio"] == pytest.approx(1.05, abs=0.001)
    assert (cpu["metric"], cpu["n_blocks"]) == ("load_cpu_s", 3)
    assert cpu["ratio"] == pytest.approx(1.1)


def test_a_ledger_without_results_says_so(tmp_path: Path) -> None:
    specs = fx.arms(1, ("control", "test-all"))
    done = aggregate_experiment(
        fx.Lab(tmp_path / "ledger-1", specs, config=LEDGER).experiment
    )
    assert "No sampler has a run to set against control yet." in done.report.read_text()
    assert printed(done)


def test_every_report_carries_the_machines_ledger(tmp_path: Path) -> None:
    fx.ledger(tmp_path, "ledger-7")
    lab = fx.Lab(tmp_path / "e", fx.arms(1), facts=fx.MACHINE)
    done = aggregate_experiment(
        lab.all_ok({"control": fx.growing(), "test": fx.plateau()})
    )
    page = Page(done.report.read_text())
    check_self_contained(page)
    assert "ledger-7 , begun" in page.text and "round (s)" in page.text
    assert len(done.verdicts) == 6 and not done.is_ledger
    assert not (done.report.parent / "ledger.csv").exists()


def test_a_report_without_a_ledger_says_how_to_get_one(tmp_path: Path) -> None:
    fx.ledger(tmp_path, "ledger-7", runs=1)
    text = Page(
        aggregate_experiment(fx.typical(tmp_path / "e")).report.read_text()
    ).text
    assert "There is no ledger for this machine yet: invoke ledger" in text
    assert "No run recorded what its samplers cost." in text
