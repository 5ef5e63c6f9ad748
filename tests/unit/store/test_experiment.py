# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.errors import ConfigError, FormatError
from experiments.model import Metric, Outcome, Plan, RunResult, RunSpec
from experiments.plan import blocks, config
from experiments.store.experiment import Experiment, experiments
from experiments.store.schema import SCHEMA
from experiments.support.files import atomic_write


def planned(seed: int = 1) -> Plan:
    return blocks.build_plan(config.parse_config({"schema": 1, "seed": seed}, "test"))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment.create(tmp_path / "e", planned(), {"schema": 1}, {})


def ok(spec: RunSpec) -> RunResult:
    metrics = (Metric("rounds", 1.5, "1/s", False),)
    return RunResult(spec, spec.run_id, Outcome.OK, "", metrics, {"a": 1}, {"b": None})


def finish(experiment: Experiment, result: RunResult) -> None:
    attempt = experiment.new_attempt(result.spec)
    for name in ("samples.csv", "dmesg.log", "workload.log"):
        (attempt / name).write_text(name)
    experiment.finish(result, attempt)


def test_a_result_comes_back_as_it_was(experiment: Experiment) -> None:
    spec = experiment.manifest().specs[0]
    finish(experiment, ok(spec))
    assert experiment.result(spec) == ok(spec)
    assert list(experiment.results()) == [ok(spec)]


def test_files_are_named_as_readers_of_the_old_automation_expect(
    experiment: Experiment,
) -> None:
    spec = next(s for s in experiment.manifest().specs if s.variant == "control")
    finish(experiment, ok(spec))
    folder = experiment.path / "scx_simple" / "control"
    stem = f"hackbench_run{spec.run}"
    assert (folder / f"{stem}.csv").read_text() == "samples.csv"
    assert (folder / f"{stem}_dmesg.log").read_text() == "dmesg.log"
    assert not list((experiment.path / "attempts").iterdir())


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.OK])
def test_what_is_not_ok_is_no_data(experiment: Experiment, outcome: Outcome) -> None:
    spec = experiment.manifest().specs[0]
    finish(experiment, RunResult(spec, spec.run_id, outcome, "why"))
    assert not experiment.files(spec).csv.exists()
    kept = list((experiment.path / "attempts").glob("*/samples.csv"))
    assert len(kept) == (outcome is not Outcome.SKIPPED)
    result = experiment.result(spec)
    assert result is not None and (result.outcome, result.reason) == (outcome, "why")


def test_only_what_says_nothing_of_the_scheduler_is_repeated(
    experiment: Experiment,
) -> None:
    specs = experiment.manifest().specs
    for spec, outcome in zip(specs, Outcome, strict=True):
        finish(experiment, RunResult(spec, spec.run_id, outcome))
    left = [
        o for s, o in zip(specs, Outcome, strict=True) if s in experiment.pending(specs)
    ]
    assert left == [Outcome.LOST, Outcome.SKIPPED]


def test_create_again_goes_on(experiment: Experiment) -> None:
    spec = experiment.manifest().specs[0]
    finish(experiment, ok(spec))
    again = Experiment.create(experiment.path, planned(), {"other": 1}, {})
    assert again.result(spec) == ok(spec)
    assert again.manifest().config == {"schema": 1}


def test_another_plan_needs_another_name(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match="--experiment"):
        Experiment.create(experiment.path, planned(seed=2), {}, {})


def test_attempts_have_directories_of_their_own(experiment: Experiment) -> None:
    spec = experiment.manifest().specs[0]
    assert experiment.new_attempt(spec) != experiment.new_attempt(spec)


def test_outcomes_are_counted(experiment: Experiment) -> None:
    specs = experiment.manifest().specs
    finish(experiment, ok(specs[0]))
    finish(experiment, RunResult(specs[1], specs[1].run_id, Outcome.EJECTED))
    assert experiment.record_all() == {"OK": 1, "EJECTED": 1}
    assert experiment.manifest().outcomes == {"OK": 1, "EJECTED": 1}


def test_a_newer_schema_is_refused_by_number(experiment: Experiment) -> None:
    raw = json.loads(experiment.manifest_path.read_text())
    atomic_write(experiment.manifest_path, json.dumps(raw | {"schema": SCHEMA + 1}))
    with pytest.raises(FormatError, match=f"schema {SCHEMA + 1}"):
        experiment.manifest()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_a_damaged_manifest_is_named(experiment: Experiment, raw: bytes) -> None:
    broken = Experiment(experiment.path.parent / "broken")
    atomic_write(broken.manifest_path, raw)
    with pytest.raises(FormatError, match=r"manifest\.json"):
        broken.manifest()


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is missing"):
        Experiment(tmp_path).manifest()


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    atomic_write(path, "old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, "new")
    assert path.read_text() == "old"


def test_newest_experiment_is_last(tmp_path: Path) -> None:
    for name, when in (("new", 2_000_000_000), ("old", 1_000_000_000)):
        made = Experiment.create(tmp_path / name, planned(), {}, {})
        os.utime(made.manifest_path, (when, when))
    assert [e.path.name for e in experiments(tmp_path)] == ["old", "new"]


@pytest.mark.parametrize("outcome", [Outcome.EJECTED, Outcome.OK])
def test_the_dump_of_an_ejected_scheduler_stands_beside_its_run(
    experiment: Experiment, outcome: Outcome
) -> None:
    spec = experiment.manifest().specs[0]
    attempt = experiment.new_attempt(spec)
    for name in ("samples.csv", "dmesg.log", "dump.log"):
        (attempt / name).write_text(name)
    experiment.finish(RunResult(spec, spec.run_id, outcome), attempt)
    files, stored = experiment.files(spec), experiment.stored(spec)
    is_there = outcome is Outcome.EJECTED
    assert files.dump.name == f"hackbench_run{spec.run}_dump.log"
    assert files.dump.exists() == is_there
    assert stored is not None and ("_dump.log" in stored.files) == is_there
