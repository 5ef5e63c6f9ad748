# SPDX-License-Identifier: GPL-2.0-only
"""The pending runs of an experiment, block by block, each to its one outcome.

A lane is a backend that does one run after another; blocks are dealt to the lanes as
they become free, and are never split, for the runs of a block are compared.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol

from experiments import paths
from experiments.errors import BackendLost
from experiments.model import BuiltObject, Job, Outcome, RunResult, RunSpec
from experiments.plugins import Backend
from experiments.run.progress import Watch
from experiments.store.experiment import Experiment
from experiments.store.schema import NOT_NEEDED
from experiments.support import failpoints
from experiments.support.console import say

#: A run is tried at most this often before it counts as LOST.
MAX_ATTEMPTS = 3

Built = Mapping[tuple[str, str], BuiltObject]

#: Whether a spec's scheduler and workload need no further block.
IsDecided = Callable[[Experiment, RunSpec], bool]


class Told(Protocol):
    """Who hears of the steps of a run; `Watch` is one."""

    def begins(self, spec: RunSpec, attempt: int) -> None: ...

    def tick(self, spec: RunSpec, text: str) -> None: ...

    def lost(self, spec: RunSpec, attempt: int, reason: str) -> None: ...

    def ended(self, result: RunResult, wall_s: float) -> None: ...


def never(experiment: Experiment, spec: RunSpec) -> bool:
    return False


class Stopped(Exception):
    """Another lane has failed, or the user has had enough."""


def job(spec: RunSpec, built: Built, out_dir: Path) -> Job:
    made = built.get((spec.scheduler, spec.variant))
    return Job(spec=spec, built=made, bin_dir=paths.BIN, out_dir=out_dir)


def execute(
    experiment: Experiment,
    lanes: Sequence[Backend],
    built: Built,
    pending: Sequence[RunSpec],
    is_decided: IsDecided = never,
) -> None:
    """Do all of `pending` that is needed.

    The first lane is in this thread when there is one alone. What goes wrong in a run
    is its outcome; what is raised has ended all lanes.
    """
    watch = Watch(experiment, pending, len(lanes))
    blocks = Blocks(experiment, pending, is_decided, watch)

    def lane(backend: Backend) -> None:
        while (block := blocks.take()) is not None:
            for spec in block:
                run_one(experiment, backend, built, spec, watch, lambda: blocks.stopped)

    with watch.showing():
        watch.doing("booting, and asking what is missing")
        announce_missing(lanes[0], built, pending)
        if len(lanes) == 1:
            lane(lanes[0])
        else:
            _in_threads(lane, lanes, blocks)
    say_unneeded(experiment, blocks.unneeded)


def _in_threads(
    lane: Callable[[Backend], None], lanes: Sequence[Backend], blocks: Blocks
) -> None:
    with ThreadPoolExecutor(len(lanes)) as pool:
        running = [pool.submit(lane, backend) for backend in lanes]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            blocks.stop()
            for backend in lanes:
                backend.close()  # so that nobody waits for a guest any more
            raise


def say_unneeded(experiment: Experiment, unneeded: set[int]) -> None:
    """Say and record which blocks were not begun because they were decided."""
    facts = dict(experiment.manifest().facts)
    facts.pop(NOT_NEEDED, None)
    if unneeded:
        say(f"  decided: {len(unneeded)} of the blocks were not needed")
        facts[NOT_NEEDED] = sorted(unneeded)
    experiment.update(facts=facts)


def announce_missing(
    backend: Backend, built: Built, pending: Sequence[RunSpec]
) -> None:
    """Say what will be SKIPPED before the first run, not in the course of a night."""
    cells = {(s.scheduler, s.variant, s.workload): s for s in reversed(pending)}
    jobs = [job(spec, built, Path()) for spec in cells.values()]
    by_reason: dict[str, list[str]] = {}
    for label, reasons in _missing(backend, jobs).items():
        by_reason.setdefault("; ".join(reasons), []).append(label.rpartition("_")[0])
    for reason, labels in by_reason.items():
        say(f"  will be SKIPPED: {', '.join(sorted(labels))}: {reason}")


def _missing(backend: Backend, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
    """A guest that dies while it is asked is followed by another, as in a run."""
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return backend.missing(jobs)
        except BackendLost as error:
            say(f"  boot {attempt} LOST: {error}")
            backend.renew()
    return backend.missing(jobs)


class Blocks:
    """The blocks to do, each for one lane; one that was begun is done to its end."""

    def __init__(
        self,
        experiment: Experiment,
        pending: Sequence[RunSpec],
        is_decided: IsDecided,
        watch: Watch,
    ) -> None:
        self._experiment = experiment
        self._is_decided = is_decided
        self._watch = watch
        self._guard = threading.Lock()
        self._left: dict[int, list[RunSpec]] = {}
        for spec in pending:
            self._left.setdefault(spec.block, []).append(spec)
        ids = {spec.run_id for spec in pending}
        planned = experiment.manifest().specs
        self._begun = {spec.block for spec in planned if spec.run_id not in ids}
        self.unneeded: set[int] = set()
        self.stopped = False

    def take(self) -> list[RunSpec] | None:
        """The next block that is needed; None when there is none."""
        with self._guard:
            while self._left and not self.stopped:
                number = next(iter(self._left))
                block = self._left.pop(number)
                if number in self._begun or not self._is_decided(
                    self._experiment, block[0]
                ):
                    return block
                self.unneeded.add(number)
                for spec in block:
                    self._watch.unneeded(spec)
            return None

    @property
    def any_left(self) -> bool:
        """Whether there are blocks that nobody has asked about."""
        return bool(self._left)

    def stop(self) -> None:
        self.stopped = True


def run_one(
    experiment: Experiment,
    backend: Backend,
    built: Built,
    spec: RunSpec,
    watch: Told,
    stopped: Callable[[], bool],
) -> None:
    """Do one run, again if it is lost, to its outcome among the results.

    Raises Stopped as soon as `stopped` says so.
    """
    began = time.monotonic()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        if stopped():
            raise Stopped
        watch.begins(spec, attempt)
        since = time.monotonic()
        out_dir = experiment.new_attempt(spec)
        failpoints.step("attempt made")
        result = _attempt(backend, job(spec, built, out_dir), watch)
        failpoints.step("job done")
        if stopped():
            raise Stopped
        if result.outcome not in (Outcome.OK, Outcome.SKIPPED):
            backend.renew()
        if result.outcome is not Outcome.LOST or attempt == MAX_ATTEMPTS:
            break
        watch.lost(spec, attempt, result.reason)
        experiment.add_retry()
    turnaround = {"turnaround_s": round(time.monotonic() - since, 3)}
    result = dataclasses.replace(result, facts={**result.facts, **turnaround})
    experiment.finish(result, out_dir)
    watch.ended(result, time.monotonic() - began)


def _attempt(backend: Backend, asked: Job, watch: Told) -> RunResult:
    spec = asked.spec
    try:
        return backend.execute(asked, lambda text: watch.tick(spec, text))
    except BackendLost as error:
        return RunResult(spec, spec.run_id, Outcome.LOST, str(error))
