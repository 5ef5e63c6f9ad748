# SPDX-License-Identifier: GPL-2.0-only
"""Backends and lanes that do as they are told, for the tests of the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from experiments.errors import BackendLost
from experiments.model import ALONE, Job, Lane, Outcome, Plan, RunResult, RunSpec
from experiments.plan import config
from experiments.plugins import Backend
from experiments.run import lanes, runner
from experiments.run.block_queue import BlockQueue, IsDecided, never
from experiments.run.progress import RunProgress
from experiments.store.experiment import Experiment

Behaviour = Callable[[int, RunSpec], Outcome]


class FakeBackend(Backend):
    """Ends the n-th run as `behaviour` says; LOST means that it dies under it."""

    name = "fake"

    @classmethod
    def target(cls, config: Any) -> tuple[Any, Any]:
        return None, None

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.done: list[str] = []
        self.renewed = 0

    def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        """Who needs a module, cannot have it."""
        no_module = {
            j.spec.label: ["no module"] for j in jobs if j.spec.cleanup == "kfunc"
        }
        return no_module

    def begin(self, experiment: Experiment, lane: Lane = ALONE) -> None:
        pass

    def facts(self) -> Mapping[str, Any]:
        return {"kernel_sha256": "k", "accel": "none"}

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        self.done.append(job.spec.label)
        outcome = self.behaviour(len(self.done), job.spec)
        if outcome is Outcome.LOST:
            raise BackendLost("the guest died: Kernel panic")
        for name in ("samples.csv", "dmesg.log"):
            (job.out_dir / name).write_text("")
        return RunResult(job.spec, job.spec.run_id, outcome, "", facts={"boot": 1})

    def renew(self) -> None:
        self.renewed += 1

    def close(self) -> None:
        pass


class FakeLanes:
    """This machine as a place for runs, with backends that are fakes."""

    config = config.parse_config({"schema": 1}, "test")
    description = ""

    def __init__(self, backends: Sequence[FakeBackend]) -> None:
        self._backends = backends

    def prepare(
        self, plan: Plan, before: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        return {}

    def held_for(self, experiment: Experiment) -> AbstractContextManager[None]:
        return nullcontext()

    def owners(self, begun: Mapping[int, str]) -> Mapping[int, str]:
        return begun

    @property
    def width(self) -> int:
        return len(self._backends)

    def run(
        self, experiment: Experiment, blocks: BlockQueue, progress: RunProgress
    ) -> None:
        lanes.run_in_lanes(experiment, self._backends, {}, blocks, progress)


def do(
    experiment: Experiment,
    backends: Sequence[FakeBackend],
    specs: Sequence[RunSpec],
    is_decided: IsDecided = never,
) -> None:
    """Do what is pending of `specs`, in a lane for each backend."""
    plan = Plan(1, tuple(specs))
    runner.do_pending(experiment, plan, FakeLanes(backends), is_decided)


def go(experiment: Experiment, behaviour: Behaviour) -> FakeBackend:
    backend = FakeBackend(behaviour)
    pending = experiment.pending(experiment.manifest().specs)
    do(experiment, [backend], pending)
    return backend


def always(outcome: Outcome) -> Behaviour:
    return lambda n, spec: outcome
