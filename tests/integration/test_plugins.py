# SPDX-License-Identifier: GPL-2.0-only
"""What somebody adds, a file each, to a copy of the project, works on a real kernel."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest

from experiments import paths
from experiments.build.builder import Builder
from experiments.columns import CSV_COLUMNS
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuildRequest, Variant
from experiments.plan import knobs
from experiments.plan.knobs import Cleanup
from tests.integration.conftest import PLUGS

if TYPE_CHECKING:
    from tests.integration.conftest import Lab

CHURN: dict[str, Any] = {"rate": 50, "burst": 5, "lifetime_ms": 20}


@pytest.fixture
def enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project that has what is in PLUGS as well."""
    copy = tmp_path / "project"
    for folder in ("analysis", "experiments", "schedulers", "workloads"):
        shutil.copytree(paths.PROJECT / folder, copy / folder)
    shutil.copytree(PLUGS, copy, dirs_exist_ok=True)
    monkeypatch.setattr(paths, "PROJECT", copy)
    monkeypatch.setattr(paths, "SCHEDULERS", copy / "schedulers")
    monkeypatch.setattr(paths, "BUILD", copy / "build")
    monkeypatch.setattr(paths, "BIN", copy / "build/bin")
    return copy


def test_a_workload_with_a_program_of_its_own(
    lab: Lab, root: LabRoot, kernel: Kernel, enlarged: Path
) -> None:
    bin_dir = Builder(root, kernel).tools()
    assert {"churn", "heartbeat"} <= {path.name for path in bin_dir.iterdir()}
    lab.add_tool(bin_dir / "heartbeat")
    result, _ = lab.run("heartbeat", None, 2, 1.0, rate=50)
    assert result["outcome"] == "OK", result["reason"]
    found = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert found["beats"] == 100

    # Without its source it is no tool any more
    (enlarged / "workloads/src/heartbeat.c").unlink()
    Builder(root, kernel).tools()
    assert (bin_dir / "churn").exists() and not (bin_dir / "heartbeat").exists()


def test_a_loader_is_found_by_its_name(lab: Lab) -> None:
    built = dataclasses.replace(lab.scheduler(), loader="noting")
    result, out_dir = lab.run("custom-churn", built, 2, 1.0, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    assert (out_dir / "load.log").read_text() == built.ops_name
    assert result["proof"]["before"]["ops"] == built.ops_name


def test_a_sampler_with_columns_of_its_own(lab: Lab, enlarged: Path) -> None:
    chosen = ("forks", "uptime")
    result, out_dir = lab.run("custom-churn", None, 3, 0.5, chosen, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    table = pd.read_csv(out_dir / "samples.csv")
    assert tuple(table.columns) == (*CSV_COLUMNS, "uptime_s", "idle_s")
    assert not table[["forks", "uptime_s", "idle_s"]].isna().any(axis=None)
    assert table["uptime_s"].is_monotonic_increasing

    measured = analysed(enlarged, OF_A_FILE, out_dir / "samples.csv")
    assert measured["uptime_s"] == table["uptime_s"].iloc[-1]
    assert measured["idle_s_per_s"] >= 0


def test_the_analysis_has_measures_of_columns_that_were_added(
    enlarged: Path, tmp_path: Path
) -> None:
    sampler = enlarged / "experiments/samplers/uptime.py"
    sampler.write_text(sampler.read_text().replace("False", "True"))
    made = analysed(enlarged, OF_AN_EXPERIMENT, tmp_path / "made")
    for written in made.values():
        assert {"uptime_s", "idle_s_per_s"} <= set(written)
    assert "time since boot" in (tmp_path / "made/report.html").read_text()


def test_a_strategy_is_a_file(
    lab: Lab,
    root: LabRoot,
    kernel: Kernel,
    enlarged: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = knobs.strategies(enlarged / "schedulers/include/strategies")
    assert there["tidy"].summary.startswith("ops.exit_task deletes every other entry")
    monkeypatch.setitem(cast(dict[str, Cleanup], knobs.CLEANUPS), "tidy", there["tidy"])
    settings = {name: knob.default for name, knob in knobs.KNOBS.items()}
    builder = Builder(root, kernel)
    tidy = Variant("test", "tidy", settings)
    built = builder.build(BuildRequest("scx_simple", tidy))
    result, out_dir = lab.run("custom-churn", built, 3, 1.0, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    assert "flags" not in result["facts"]
    last = pd.read_csv(out_dir / "samples.csv").iloc[-1]
    assert 0.2 * last["inserted"] < last["evictions"] < 0.8 * last["inserted"]


OF_A_FILE = """
from analysis.load.run_measures import run_stats
from analysis.load.samples_csv import read_samples
measured = run_stats(read_samples(path.read_text()))
said = {k: v for k, v in measured.items() if v == v}
"""
OF_AN_EXPERIMENT = """
import csv
from analysis.aggregate import aggregate_experiment
from experiments.bench import synthetic
aggregate_experiment(synthetic.make(path, 8))
written = ("runs.csv", "summary.csv")
said = {name: next(csv.reader((path / name).open())) for name in written}
"""


def analysed(project: Path, code: str, path: Path) -> dict[str, Any]:
    """Return what the analysis of a copy of the project, run by itself, says."""
    whole = f"import json, pathlib, sys; path = pathlib.Path(sys.argv[1]){code}"
    argv = [sys.executable, "-c", f"{whole}print(json.dumps(said))", str(path)]
    done = subprocess.run(
        argv, cwd=project, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
