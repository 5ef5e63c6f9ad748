# SPDX-License-Identifier: GPL-2.0-only
"""What another terminal sees: events, locks, status."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.model import Outcome
from experiments.plan import blocks, config
from experiments.run import status
from experiments.store import event_log
from experiments.store.experiment import LOCK, Experiment
from experiments.support import locks
from tests.unit.run.fakes import FakeBackend, always, do


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    planned = blocks.build_plan(
        config.parse_config({"schema": 1, "iterations": 2}, "test")
    )
    return Experiment.create(tmp_path / "e", planned, {}, {})


def names(experiment: Experiment) -> list[str]:
    return [event["event"] for event in event_log.read(experiment.path)]


# --- events ---------------------------------------------------------------------------


def test_events_come_back_in_their_order(tmp_path: Path) -> None:
    log = event_log.EventLog(tmp_path)
    log.add("run", run="a/b/c_run1", attempt=1)
    log.add("ended", outcome="OK")
    first, second = event_log.read(tmp_path)
    assert (first["event"], first["run"]) == ("run", "a/b/c_run1")
    assert second["time"] >= first["time"]


@pytest.mark.parametrize("torn", [b'{"event": "ru', b"\0\0\0"])
def test_a_line_cut_short_spoils_no_other(tmp_path: Path, torn: bytes) -> None:
    event_log.EventLog(tmp_path).add("run", run="1")
    with (tmp_path / event_log.FILE).open("ab") as file:
        file.write(torn)
    event_log.EventLog(tmp_path).add("run", run="2")
    assert [e["run"] for e in event_log.read(tmp_path)] == ["1", "2"]


def test_no_file_is_no_event(tmp_path: Path) -> None:
    assert list(event_log.read(tmp_path)) == []


def test_an_experiment_leaves_its_events(experiment: Experiment) -> None:
    specs = experiment.manifest().specs
    backend = FakeBackend(lambda n, s: Outcome.LOST if n == 2 else Outcome.OK)
    do(experiment, [backend], specs)
    assert names(experiment) == [
        *("started", "run", "ended", "run", "lost", "run", "ended"),
        *("run", "ended", "run", "ended", "done"),
    ]
    ended = [e for e in event_log.read(experiment.path) if e["event"] == "ended"]
    assert {e["run_id"] for e in ended} == {s.run_id for s in specs}
    assert ended[-1]["left_s"] == 0


def test_an_interrupt_is_an_event(experiment: Experiment) -> None:
    def stop(n: int, spec: object) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(experiment, [FakeBackend(stop)], experiment.manifest().specs)
    assert names(experiment) == ["started", "run", "interrupted"]


# --- status ---------------------------------------------------------------------------


def test_status_of_what_was_never_begun(experiment: Experiment) -> None:
    found = status.experiment_status(experiment)
    assert (found.planned, found.done, found.is_complete) == (4, 0, False)
    assert "invoke resume e" in "\n".join(status.lines(found))


def test_status_while_it_runs(experiment: Experiment) -> None:
    seen: list[status.ExperimentStatus] = []

    def look(n: int, spec: object) -> Outcome:
        seen.append(status.experiment_status(experiment))
        return Outcome.OK

    specs = experiment.manifest().specs
    with locks.locked(experiment.path / LOCK):
        do(experiment, [FakeBackend(look)], specs)
    third = seen[2]
    assert third.done == 2
    assert third.outcomes == {"OK": 2}
    assert [r.run for r in third.running] == [specs[2].label]
    assert third.left_s is not None and third.left_s > specs[2].duration_s
    text = "\n".join(status.lines(third))
    assert f"process {os.getpid()}" in text
    assert f"now {specs[2].label}" in text


def test_status_afterwards(experiment: Experiment) -> None:
    backend = FakeBackend(always(Outcome.OK))
    do(experiment, [backend], experiment.manifest().specs)
    found = status.experiment_status(experiment)
    assert found.is_complete
    assert found.owner is None and found.running == ()
    assert not any("resume" in line for line in status.lines(found))


def test_status_after_the_runner_was_killed(experiment: Experiment) -> None:
    specs = experiment.manifest().specs
    log = event_log.EventLog(experiment.path)
    log.add("started", pending=4, planned=4, lanes=1)
    log.add("run", run=specs[0].label, run_id=specs[0].run_id, attempt=1)
    found = status.experiment_status(experiment)
    assert found.running == ()
    assert "died" in found.stopped


def test_runs_that_are_not_needed_are_not_left(experiment: Experiment) -> None:
    specs = experiment.manifest().specs

    def after_one(found: Experiment, spec: object) -> bool:
        return bool(found.finished(specs))

    backend = FakeBackend(always(Outcome.OK))
    do(experiment, [backend], specs, after_one)
    found = status.experiment_status(experiment)
    assert (found.done, found.not_needed, found.is_complete) == (2, 2, True)
