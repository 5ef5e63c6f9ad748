# SPDX-License-Identifier: GPL-2.0-only
"""This machine as a place for runs: lanes side by side, each with CPUs of its own.

A lane is a backend that does one run after another. Lanes take blocks as they become
free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments import paths, registry
from experiments.errors import BackendLost, ConfigError
from experiments.model import Job, Lane, Plan, RunSpec
from experiments.plan.config import Config
from experiments.plugins import Backend
from experiments.run.attempts import MAX_ATTEMPTS, BuiltObjects, job, run_one
from experiments.run.block_queue import BlockQueue
from experiments.run.prepare import Prepared, prepare
from experiments.run.progress import RunProgress
from experiments.store.experiment import Experiment
from experiments.support import failpoints, locks
from experiments.support.console import say


class LocalLanes:
    """The `Place` that is this machine."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._lanes = lanes_of(config)
        self._prepared: Prepared | None = None

    def prepare(
        self, plan: Plan, before: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        self._prepared = prepare(self.config, plan)
        return self._prepared.facts

    @contextlib.contextmanager
    def held_for(self, experiment: Experiment) -> Iterator[None]:
        """Hold the lock of this machine; wait while another experiment measures."""
        with locks.queued(measuring_lock(), experiment.path.name, _say_waiting):
            failpoints.step("machine locked")
            yield

    def owners(self, begun: Mapping[int, str]) -> Mapping[int, str]:
        """Return `begun`; raise ConfigError if a host of a cluster began a block."""
        if elsewhere := {block: host for block, host in begun.items() if host}:
            named = ", ".join(f"{b} on {h}" for b, h in sorted(elsewhere.items()))
            raise ConfigError(
                "there are blocks that hosts of a cluster have begun and have to end "
                f"({named}): go on with --on and the cluster's address"
            )
        return begun

    @property
    def width(self) -> int:
        return len(self._lanes)

    @property
    def description(self) -> str:
        return ""

    def run(
        self, experiment: Experiment, blocks: BlockQueue, progress: RunProgress
    ) -> None:
        assert self._prepared is not None
        built = self._prepared.built
        with contextlib.ExitStack() as stack:
            backends = []
            for backend, lane in zip(self._backends(), self._lanes, strict=True):
                stack.callback(backend.close)
                backend.begin(experiment, lane)
                backends.append(backend)
            run_in_lanes(experiment, backends, built, blocks, progress)
        failpoints.step("guest ended")

    def _backends(self) -> list[Backend]:
        assert self._prepared is not None
        made = self._prepared
        others = [
            type(made.backend)(self.config, made.root, made.kernel)
            for _ in self._lanes[1:]
        ]
        return [made.backend, *others]


def lanes_of(config: Config) -> Sequence[Lane]:
    """Return where runs are done side by side: the backend knows.

    Raises ConfigError for more lanes than there can be.
    """
    return registry.backend(config.backend).lanes(config)


def measuring_lock() -> Path:
    """Return the lock of whoever measures on this machine."""
    return paths.cache_dir() / "measuring.lock"


def _say_waiting(owner: str) -> None:
    say(f"  waiting until another experiment is done: {owner}")


def run_in_lanes(
    experiment: Experiment,
    backends: Sequence[Backend],
    built: BuiltObjects,
    blocks: BlockQueue,
    progress: RunProgress,
) -> None:
    """Do all that is in `blocks`, in as many lanes as there are backends.

    One lane alone is in this thread: a guest gets SIGKILL when the thread that started
    it dies.
    """
    progress.doing("booting, and asking what is missing")
    _announce_missing(backends[0], built, blocks.specs)
    lanes = _Lanes(experiment, built, blocks, progress)
    if len(backends) == 1:
        lanes.work(backends[0])
    else:
        _in_threads(lanes, backends)


class _Lanes:
    """What the lanes have in common."""

    def __init__(
        self,
        experiment: Experiment,
        built: BuiltObjects,
        blocks: BlockQueue,
        progress: RunProgress,
    ) -> None:
        self._experiment = experiment
        self._built = built
        self._blocks = blocks
        self._progress = progress
        self.is_stopped = False

    def work(self, backend: Backend) -> None:
        """Take blocks and do them until there are none."""
        while not self.is_stopped and (block := self._blocks.take()) is not None:
            for spec in block.specs:
                run_one(
                    self._experiment,
                    backend,
                    self._built,
                    spec,
                    self._progress,
                    lambda: self.is_stopped,
                )


def _in_threads(lanes: _Lanes, backends: Sequence[Backend]) -> None:
    with ThreadPoolExecutor(len(backends)) as pool:
        running = [pool.submit(lanes.work, backend) for backend in backends]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            lanes.is_stopped = True
            for backend in backends:
                backend.close()  # so that nobody waits for a guest any more
            raise


def _announce_missing(
    backend: Backend, built: BuiltObjects, pending: Sequence[RunSpec]
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
    """Ask the backend; a guest that dies meanwhile is followed by another."""
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return backend.missing(jobs)
        except BackendLost as error:
            say(f"  boot {attempt} LOST: {error}")
            backend.renew()
    return backend.missing(jobs)
