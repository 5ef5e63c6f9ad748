# SPDX-License-Identifier: GPL-2.0-only
"""One run: tried again while the place dies under it, to its one outcome."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from experiments import paths
from experiments.errors import BackendLost
from experiments.model import BuiltObject, Job, Outcome, RunResult, RunSpec
from experiments.plugins import Backend
from experiments.store.experiment import Experiment
from experiments.support import failpoints

#: A run is tried at most this often before it counts as LOST.
MAX_ATTEMPTS = 3

#: (scheduler, variant) -> its object
BuiltObjects = Mapping[tuple[str, str], BuiltObject]


class RunListener(Protocol):
    """Hears of the steps of a run; `RunProgress` is one."""

    def begins(self, spec: RunSpec, attempt: int) -> None: ...

    def tick(self, spec: RunSpec, text: str) -> None: ...

    def lost(self, spec: RunSpec, attempt: int, reason: str) -> None: ...

    def ended(self, result: RunResult, wall_s: float) -> None: ...


class Stopped(Exception):
    """Raised to end a run early: another lane has failed, or a stop was asked for."""


def job(spec: RunSpec, built: BuiltObjects, out_dir: Path) -> Job:
    """Return what the agent is handed for `spec`."""
    made = built.get((spec.scheduler, spec.variant))
    return Job(spec=spec, built=made, bin_dir=paths.BIN, out_dir=out_dir)


def run_one(
    experiment: Experiment,
    backend: Backend,
    built: BuiltObjects,
    spec: RunSpec,
    listener: RunListener,
    is_stopped: Callable[[], bool],
) -> None:
    """Do one run, repeat it while it is LOST, and store its outcome.

    Raises Stopped as soon as `is_stopped` says so.
    """
    began = time.monotonic()
    lost = _lost_before(experiment, spec)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        if is_stopped():
            raise Stopped
        listener.begins(spec, attempt)
        since = time.monotonic()
        out_dir = experiment.new_attempt(spec)
        failpoints.step("attempt made")
        result = _attempt(backend, job(spec, built, out_dir), listener)
        failpoints.step("job done")
        if is_stopped():
            raise Stopped
        if result.outcome.is_fault:
            backend.renew()
        if result.outcome is not Outcome.LOST or attempt == MAX_ATTEMPTS:
            break
        listener.lost(spec, attempt, result.reason)
        experiment.add_retry()
        lost += 1
    more = {"turnaround_s": round(time.monotonic() - since, 3), "lost_attempts": lost}
    result = dataclasses.replace(result, facts={**result.facts, **more})
    experiment.finish(result, out_dir)
    listener.ended(result, time.monotonic() - began)


def _lost_before(experiment: Experiment, spec: RunSpec) -> int:
    """Return how many attempts at a run ended LOST before this command."""
    before = experiment.result(spec)
    if before is None:
        return 0
    return int(before.facts.get("lost_attempts", 0)) + (before.outcome is Outcome.LOST)


def _attempt(backend: Backend, asked: Job, listener: RunListener) -> RunResult:
    spec = asked.spec
    try:
        return backend.execute(asked, lambda text: listener.tick(spec, text))
    except BackendLost as error:
        return RunResult(spec, spec.run_id, Outcome.LOST, str(error))
