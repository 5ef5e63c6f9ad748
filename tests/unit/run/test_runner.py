# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a plan when its place of execution misbehaves.

The backend here is a fake; the real one has tests of its own on a real kernel.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments.errors import BackendLost, ConfigError
from experiments.model import ALONE, Job, Lane, Outcome, Plan, RunResult, RunSpec
from experiments.plan import config
from experiments.plan.blocks import build_plan
from experiments.plugins import Backend
from experiments.run import lanes, runner
from experiments.run.attempts import MAX_ATTEMPTS
from experiments.run.block_queue import BlockQueue, IsDecided, never
from experiments.run.progress import RunProgress
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import SAME

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


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    planned = build_plan(config.parse_config({"schema": 1, "iterations": 2}, "test"))
    return Experiment.create(tmp_path / "e", planned, {}, {})


def go(experiment: Experiment, behaviour: Behaviour) -> FakeBackend:
    backend = FakeBackend(behaviour)
    pending = experiment.pending(experiment.manifest().specs)
    do(experiment, [backend], pending)
    return backend


def always(outcome: Outcome) -> Behaviour:
    return lambda n, spec: outcome


def test_all_ok(experiment: Experiment) -> None:
    backend = go(experiment, always(Outcome.OK))
    assert backend.renewed == 0
    assert experiment.manifest().outcomes == {"OK": 4}


def test_a_lost_run_is_repeated_on_a_fresh_boot_and_counted(
    experiment: Experiment,
) -> None:
    backend = go(experiment, lambda n, s: Outcome.LOST if n == 2 else Outcome.OK)
    assert backend.done[1] == backend.done[2]
    assert backend.renewed == 1
    assert experiment.manifest().outcomes == {"OK": 4}
    assert experiment.manifest().retries == 1
    lost = {r.spec.label: r.facts["lost_attempts"] for r in experiment.results()}
    assert lost.pop(backend.done[1]) == 1 and set(lost.values()) == {0}


def test_a_run_that_is_always_lost_ends_as_lost(experiment: Experiment) -> None:
    first = experiment.manifest().specs[0]
    backend = go(
        experiment,
        lambda n, s: Outcome.LOST if s.label == first.label else Outcome.OK,
    )
    assert backend.done.count(first.label) == MAX_ATTEMPTS
    result = experiment.result(first)
    assert result is not None and "Kernel panic" in result.reason
    assert experiment.manifest().outcomes == {"LOST": 1, "OK": 3}
    assert experiment.manifest().retries == MAX_ATTEMPTS - 1
    assert experiment.pending(experiment.manifest().specs) == [first]
    go(experiment, always(Outcome.OK))
    result = experiment.result(first)
    assert result is not None and result.outcome is Outcome.OK
    assert result.facts["lost_attempts"] == MAX_ATTEMPTS, "all of both commands"


@pytest.mark.parametrize("outcome", [Outcome.EJECTED, Outcome.FAILED, Outcome.TIMEOUT])
def test_a_verdict_on_the_scheduler_is_not_retried(
    experiment: Experiment, outcome: Outcome
) -> None:
    backend = go(experiment, always(outcome))
    assert len(backend.done) == 4
    assert backend.renewed == 4
    assert experiment.pending(experiment.manifest().specs) == []


def test_stopped_and_started_again_goes_on(experiment: Experiment) -> None:
    def stop(n: int, spec: RunSpec) -> Outcome:
        if n == 3:
            raise KeyboardInterrupt
        return Outcome.OK

    with pytest.raises(KeyboardInterrupt):
        go(experiment, stop)
    before = {s.label: experiment.result(s) for s in experiment.manifest().specs}
    assert sum(r is not None for r in before.values()) == 2
    backend = go(experiment, always(Outcome.OK))
    assert backend.done == [label for label, r in before.items() if r is None]
    for spec in experiment.manifest().specs:
        if before[spec.label] is not None:
            assert experiment.result(spec) == before[spec.label]


@pytest.mark.parametrize("name", SAME)
def test_an_experiment_keeps_its_facts(experiment: Experiment, name: str) -> None:
    known = {fact: "as before" for fact in SAME}
    experiment.update(facts=known)
    runner.check_facts(experiment, known)
    with pytest.raises(ConfigError, match=f"another {name}.*--experiment"):
        runner.check_facts(experiment, {**known, name: "changed"})


@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".", "a/b", "", ".hidden"])
def test_names_of_experiments_are_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        runner.checked_name(name)
    assert runner.checked_name("scx_simple-hackbench-1.2") == "scx_simple-hackbench-1.2"


def test_two_runners_on_one_experiment(experiment: Experiment) -> None:
    with (
        runner.owned(experiment),
        pytest.raises(ConfigError, match=f"e is being run by process {os.getpid()} "),
        runner.owned(experiment),
    ):
        pass


def test_the_default_name_follows_the_plan_and_the_facts() -> None:
    one = config.parse_config({"schema": 1}, "test")
    two = config.parse_config({"schema": 1, "duration_s": 31}, "test")
    names = {
        runner.default_name(c, build_plan(c), {"kernel_sha256": kernel})
        for c, kernel in ((one, "k"), (one, "k"), (two, "k"), (one, "other"))
    }
    assert len(names) == 3
    assert all(n.startswith("scx_simple-hackbench-") for n in names)


def test_a_skipped_run_needs_no_fresh_boot_and_leaves_nothing(
    experiment: Experiment,
) -> None:
    backend = go(experiment, always(Outcome.SKIPPED))
    assert backend.renewed == 0
    assert not list((experiment.path / "attempts").iterdir())


def test_what_will_be_skipped_is_said_once_a_cell_before_the_first_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"schema": 1, "cleanups": ["scan", "kfunc"], "iterations": 3}
    planned = build_plan(config.parse_config(settings, "test"))
    backend = FakeBackend(always(Outcome.OK))
    lanes._announce_missing(backend, {}, planned.specs)
    said = capsys.readouterr().out
    assert said.count("scx_simple/test-kfunc/hackbench") == 1
    assert "no module" in said
    assert "test-scan" not in said
    assert backend.done == []


def test_a_decided_cell_gets_no_further_block(experiment: Experiment) -> None:
    backend = FakeBackend(always(Outcome.OK))
    specs = experiment.manifest().specs

    def after_one_block(found: Experiment, spec: RunSpec) -> bool:
        return len(found.pending(specs)) < len(specs)

    do(experiment, [backend], specs, after_one_block)
    assert len({spec.block for spec in specs}) == 2
    assert len(backend.done) == 2
    assert experiment.manifest().outcomes == {"OK": 2}
    assert experiment.manifest().facts["blocks_not_needed"] == [specs[-1].block]


def test_a_block_that_was_begun_is_done_to_its_end(experiment: Experiment) -> None:
    specs = experiment.manifest().specs
    do(experiment, [FakeBackend(always(Outcome.OK))], specs[:1])
    backend = FakeBackend(always(Outcome.OK))
    pending = experiment.pending(specs)
    do(experiment, [backend], pending, lambda found, spec: True)
    assert backend.done == [specs[1].label]


@pytest.mark.parametrize(("deaths", "ends"), [(2, False), (3, True)])
def test_a_guest_that_dies_before_the_first_run_is_followed_by_another(
    experiment: Experiment, deaths: int, ends: bool
) -> None:
    class Dying(FakeBackend):
        asked = 0

        def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
            self.asked += 1
            if self.asked <= deaths:
                raise BackendLost("it lost its file server")
            return super().missing(jobs)

    backend = Dying(always(Outcome.OK))
    specs = experiment.manifest().specs
    if ends:
        with pytest.raises(BackendLost):
            do(experiment, [backend], specs)
        assert backend.done == []
        return
    do(experiment, [backend], specs)
    assert backend.renewed == deaths
    assert experiment.manifest().outcomes == {"OK": 4}


# --- several lanes --------------------------------------------------------------------


class LaneBackend(FakeBackend):
    """Waits in its first run until the other lane has begun one, too."""

    def __init__(self, together: threading.Barrier, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        self._together = together

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        if not self.done:
            self._together.wait(10)
        return super().execute(job, tick)


def test_lanes_share_the_blocks_and_split_none(experiment: Experiment) -> None:
    together = threading.Barrier(2)
    backends = [LaneBackend(together, always(Outcome.OK)) for _ in range(2)]
    specs = experiment.manifest().specs
    do(experiment, backends, specs)
    block = {spec.label: spec.block for spec in specs}
    of_lanes = [{block[label] for label in lane.done} for lane in backends]
    assert [len(lane.done) for lane in backends] == [2, 2]
    assert [len(blocks) for blocks in of_lanes] == [1, 1]
    assert of_lanes[0] != of_lanes[1]
    manifest = experiment.manifest()
    assert manifest.outcomes == {"OK": 4}
    assert set(manifest.results) == {spec.run_id for spec in specs}


def test_what_ends_a_lane_ends_them_all(experiment: Experiment) -> None:
    together = threading.Barrier(2)
    closed = threading.Event()

    class Waiting(LaneBackend):
        """Its guest answers nothing, and dies when it is closed."""

        def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
            self._together.wait(10)
            assert closed.wait(10)
            raise BackendLost("the guest was ended")

        def close(self) -> None:
            closed.set()

    class Broken(LaneBackend):
        def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
            self._together.wait(10)
            raise ConfigError("built anew")

    backends = [
        Waiting(together, always(Outcome.OK)),
        Broken(together, always(Outcome.OK)),
    ]
    with pytest.raises(ConfigError, match="built anew"):
        do(experiment, backends, experiment.manifest().specs)
    assert experiment.manifest().outcomes == {}


@pytest.mark.parametrize(
    ("jobs", "cpus", "expected"),
    [(1, 2, [()]), (2, 1, [(4,), (6,)]), (2, 2, [(4, 6), (8, 9)])],
)
def test_every_lane_has_cpus_of_its_own(
    jobs: int,
    cpus: int,
    expected: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {9, 4, 8, 6})
    asked = config.parse_config(
        {"schema": 1, "vm": {"jobs": jobs, "cpus": cpus}}, "test"
    )
    assert [lane.cpus for lane in lanes.lanes_of(asked)] == expected


def test_lanes_that_would_share_cpus_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    asked = config.parse_config({"schema": 1, "vm": {"jobs": 2, "cpus": 2}}, "test")
    with pytest.raises(ConfigError, match="measure each other; at most 1"):
        lanes.lanes_of(asked)
    asked = config.parse_config(
        {"schema": 1, "vm": {"jobs": 2}, "backend": "host"}, "test"
    )
    with pytest.raises(ConfigError, match="host is one"):
        lanes.lanes_of(asked)


def test_guests_that_do_not_fit_into_memory_are_refused() -> None:
    there_mb = psutil.virtual_memory().total >> 20
    vm = {"memory_mb": there_mb // 2 + 1, "jobs": 2, "cpus": 1}
    asked = config.parse_config({"schema": 1, "vm": vm}, "test")
    with pytest.raises(ConfigError, match="at most 1 of them fit"):
        lanes.lanes_of(asked)
    vm = {"memory_mb": min(there_mb * 2, 1 << 20)}
    asked = config.parse_config({"schema": 1, "vm": vm}, "test")
    with pytest.raises(ConfigError, match=r"give vm\.memory_mb less"):
        lanes.lanes_of(asked)
