# SPDX-License-Identifier: GPL-2.0-only
"""Results of every past schema stay readable: these were written by a real run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.aggregate import aggregate_experiment
from experiments.columns import CSV_COLUMNS
from experiments.model import Outcome
from experiments.store.experiment import Experiment

GOLDEN = Path(__file__).parents[2] / "golden"
SCHEMAS = sorted(GOLDEN.glob("results-schema*"))


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda p: p.name)
def test_manifest_and_runs_are_read(path: Path) -> None:
    experiment = Experiment(path)
    manifest = experiment.manifest()
    results = list(experiment.results())
    assert len(results) == len(manifest.specs) == 2
    for spec, result in zip(manifest.specs, results, strict=True):
        assert result.outcome is Outcome.OK
        assert result.spec == spec
        assert result.run_id == spec.run_id, "the hash of a spec must not change"
        assert experiment.files(spec).csv.exists()
        assert experiment.files(spec).dmesg.exists()


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda p: p.name)
def test_aggregate_reads_them(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "experiment"
    shutil.copytree(path, copy)
    done = aggregate_experiment(Experiment(copy))
    assert done.data.set_aside == ()
    assert len(done.summary) == 2
    evictions = done.summary.set_index("variant")["evictions"].to_dict()
    assert evictions["control"] == 0
    assert evictions["test"] > 0
    assert done.report.stat().st_size > 10_000


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda p: p.name)
def test_columns_are_only_added_at_the_right(path: Path) -> None:
    for csv in path.rglob("*_run?.csv"):
        header = tuple(csv.read_text().splitlines()[0].split(","))
        assert header == CSV_COLUMNS[: len(header)]
        assert header[:5] == (
            *("timestamp", "map_entries", "free_mem_kb", "slab_bpf_kb", "evictions"),
        )
