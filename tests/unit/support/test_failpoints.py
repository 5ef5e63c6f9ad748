# SPDX-License-Identifier: GPL-2.0-only
"""A runner that is killed loses nothing, at whichever of its steps.

The runner is a fork of this process with a fake backend; `invoke bench faults` does the
same with a real kernel.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import paths, registry
from experiments.columns import CSV_COLUMNS
from experiments.machine import facts
from experiments.model import Job, Outcome, RunResult
from experiments.plan import config
from experiments.plan.blocks import build_plan
from experiments.plan.config import Config
from experiments.run import prepare
from experiments.run.runner import run_experiment
from experiments.store.experiment import Experiment
from experiments.store.verify import verify_experiment
from experiments.support import failpoints
from tests.unit.run.fakes import FakeBackend, always

#: Steps of the backend that boots guests: a test on a real kernel comes to them.
OF_THE_GUEST = {"booted", "warmed up", "job handed over"}
STEPS = [step for step in failpoints.STEPS if step not in OF_THE_GUEST]
SETTINGS = config.parse_config({"schema": 1, "iterations": 3}, "test")


class Recording(FakeBackend):
    """Each run takes a few ms and writes a CSV of its own."""

    def __init__(self, *made_from: object) -> None:
        super().__init__(always(Outcome.OK))

    def facts(self) -> Mapping[str, Any]:
        return {"kernel_sha256": "k", "accel": "none", "vm": {}, "labroot": {}}

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        result = super().execute(job, tick)
        row = ",".join(job.spec.run_id for _ in CSV_COLUMNS)
        time.sleep(0.002)
        (job.out_dir / "samples.csv").write_text(f"{','.join(CSV_COLUMNS)}\n{row}\n")
        return result


@pytest.fixture(autouse=True)
def tools(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a directory with one tool, which stands in for all that is built."""
    directory = tmp_path_factory.mktemp("bin")
    (directory / "custom-churn").write_text("a program")
    monkeypatch.setattr(prepare, "build_all", lambda *made_from: {})
    monkeypatch.setattr(facts, "machine", lambda project: {})
    monkeypatch.setattr(paths, "BIN", directory)
    monkeypatch.setattr(registry, "backend", lambda name: Recording)
    return directory


def forked(where: Path, settings: Config = SETTINGS) -> int:
    """Start a runner; its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            run_experiment(settings, "e", where)
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def hashes(experiment: Experiment) -> dict[Path, bytes]:
    if not experiment.manifest_path.exists():
        return {}
    specs = experiment.finished(experiment.manifest().specs)
    files = [path for spec in specs for path in experiment.files(spec)]
    return {path: path.read_bytes() for path in files if path.exists()}


def outline(experiment: Experiment) -> list[object]:
    stored = [experiment.stored(spec) for spec in experiment.manifest().specs]
    return [
        s and (s.result.run_id, s.result.outcome, s.files[".csv"].rows) for s in stored
    ]


def check(where: Path, before: Mapping[Path, bytes]) -> None:
    """That what was finished is as it was."""
    after = hashes(Experiment(where / "e"))
    assert {path: after.get(path) for path in before} == before


def check_done(where: Path) -> None:
    experiment = Experiment(where / "e")
    assert verify_experiment(experiment).wrong == ()
    assert experiment.manifest().outcomes == {"OK": 6}
    assert outline(experiment) == [
        (spec.run_id, Outcome.OK, 1) for spec in experiment.manifest().specs
    ]


def test_tools_are_files_and_no_directories(tools: Path) -> None:
    (tools / "__pycache__").mkdir()
    (tools / ".hidden").touch()
    known = prepare.prepare(SETTINGS, build_plan(SETTINGS)).facts
    assert known["tools"] == {"custom-churn": hashlib.sha256(b"a program").hexdigest()}


def test_every_step_is_somewhere_in_the_code_exactly_once() -> None:
    project = Path(__file__).parents[3] / "experiments"
    found: list[str] = []
    for path in project.rglob("*.py"):
        found += re.findall(r'failpoints\.step\(\s*"([^"]+)"\s*\)', path.read_text())
    assert sorted(found) == sorted(failpoints.STEPS)
    assert len(failpoints.STEPS) >= 12


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_it_goes_on(
    step: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failpoints.ENVIRONMENT, f"{step}:{number}")
    comes_once = {"planned", "built", "guest ended", "experiment done"}
    comes_once |= {s for s in STEPS if s.startswith(("experiment", "machine"))}
    code = ended(forked(tmp_path))
    if number > 1 and step in comes_once:
        assert code == 0
        return
    assert code == -signal.SIGKILL
    before = hashes(Experiment(tmp_path / "e"))
    monkeypatch.delenv(failpoints.ENVIRONMENT)
    assert ended(forked(tmp_path)) == 0
    check(tmp_path, before)
    check_done(tmp_path)


def test_killed_at_random_moments_it_goes_on(tmp_path: Path) -> None:
    rng = random.Random(1)
    killed = 0
    experiment = Experiment(tmp_path / "e")
    for _ in range(60):
        before = hashes(experiment)
        pid = forked(tmp_path)
        timer = threading.Timer(rng.uniform(0, 0.06), os.kill, (pid, signal.SIGKILL))
        timer.start()
        code = ended(pid)
        timer.cancel()
        timer.join()
        killed += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        check(tmp_path, before)
    assert killed >= 5, "too few were killed to show anything"
    assert ended(forked(tmp_path)) == 0
    check_done(tmp_path)


def test_where_there_is_no_room_no_run_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.errors import MissingRequirement

    monkeypatch.setattr("experiments.store.experiment.LEAST_FREE_MB", 1 << 40)
    with pytest.raises(MissingRequirement, match="make room"):
        run_experiment(SETTINGS, "e", tmp_path)
    monkeypatch.undo()
    experiment = Experiment(tmp_path / "e")
    assert experiment.finished(experiment.manifest().specs) == []
