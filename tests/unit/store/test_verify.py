# SPDX-License-Identifier: GPL-2.0-only
"""Whatever is done to a finished experiment's files, verify names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.columns import CSV_COLUMNS
from experiments.model import Job, Outcome, RunResult
from experiments.plan import blocks, config
from experiments.store.experiment import Experiment
from experiments.store.verify import verify_experiment
from tests.unit.run.fakes import FakeBackend, always, do


class Recording(FakeBackend):
    """Writes files like those of a run."""

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        result = super().execute(job, tick)
        header = ",".join(CSV_COLUMNS)
        row = ",".join("1" for _ in CSV_COLUMNS)
        (job.out_dir / "samples.csv").write_text(f"{header}\n{row}\n{row}\n")
        (job.out_dir / "dmesg.log").write_text("a record\n")
        return result


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    planned = blocks.build_plan(
        config.parse_config({"schema": 1, "iterations": 2}, "test")
    )
    experiment = Experiment.create(tmp_path / "e", planned, {}, {})
    backend = Recording(always(Outcome.OK))
    do(experiment, [backend], planned.specs)
    return experiment


def first(experiment: Experiment) -> Path:
    return experiment.files(experiment.manifest().specs[0]).csv


def test_nothing_is_wrong_with_what_was_just_finished(experiment: Experiment) -> None:
    found = verify_experiment(experiment)
    assert found.wrong == ()
    assert (found.runs, found.unhashed) == (4, 0)
    assert found.files == 1 + 4 * 3


def test_one_changed_digit_is_found(experiment: Experiment) -> None:
    csv = first(experiment)
    csv.write_text(csv.read_text()[:-2] + "2\n")
    (wrong,) = verify_experiment(experiment).wrong
    assert wrong.file == str(csv.relative_to(experiment.path))
    assert "hash" in wrong.what


def test_a_lost_row_is_counted(experiment: Experiment) -> None:
    csv = first(experiment)
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    (wrong,) = verify_experiment(experiment).wrong
    assert wrong.what == "has 1 rows, had 2"


@pytest.mark.parametrize("suffix", [".csv", ".json", "_dmesg.log"])
def test_a_missing_file_is_named(experiment: Experiment, suffix: str) -> None:
    csv = first(experiment)
    path = csv.with_name(csv.stem + suffix)
    path.unlink()
    found = verify_experiment(experiment).wrong
    assert (str(path.relative_to(experiment.path)), "is missing") in [
        (w.file, w.what) for w in found
    ]


def test_a_changed_metric_is_found(experiment: Experiment) -> None:
    path = first(experiment).with_suffix(".json")
    path.write_text(path.read_text().replace('"boot": 1', '"boot": 2'))
    (wrong,) = verify_experiment(experiment).wrong
    assert "another hash" in wrong.what


def test_a_result_of_another_run_is_found(experiment: Experiment) -> None:
    one, two = (experiment.files(s).json for s in experiment.manifest().specs[:2])
    two.write_bytes(one.read_bytes())
    assert any("another run" in w.what for w in verify_experiment(experiment).wrong)


def test_a_file_that_nobody_finished_is_named(experiment: Experiment) -> None:
    stranger = first(experiment).with_name("hackbench_run9.csv")
    stranger.write_text("")
    (wrong,) = verify_experiment(experiment).wrong
    assert wrong.what == "belongs to no finished run"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw | {"outcomes": {"OK": 3}}, "outcomes are"),
        (lambda raw: raw | {"plan_id": "0"}, "plan_id"),
        (lambda raw: raw | {"schema": 99}, "schema 99"),
        (lambda raw: {}, "schema"),
    ],
)
def test_the_manifest_is_checked(
    experiment: Experiment, change: Callable[[object], object], said: str
) -> None:
    raw = json.loads(experiment.manifest_path.read_text())
    experiment.manifest_path.write_text(json.dumps(change(raw)))
    found = verify_experiment(experiment).wrong
    assert [w.file for w in found] == ["manifest.json"]
    assert said in found[0].what


def test_what_is_older_than_hashes_is_counted_not_blamed() -> None:
    golden = Path(__file__).parents[2] / "golden"
    for path in golden.glob("results-schema*"):
        found = verify_experiment(Experiment(path))
        assert found.wrong == ()
        assert found.unhashed == found.runs == 2
