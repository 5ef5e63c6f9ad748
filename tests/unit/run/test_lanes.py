# SPDX-License-Identifier: GPL-2.0-only
"""Several lanes side by side: blocks stay whole, lanes have what is their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import psutil
import pytest

from experiments.errors import BackendLost, ConfigError
from experiments.model import Job, Outcome, RunResult
from experiments.plan import config
from experiments.run import lanes
from experiments.store.experiment import Experiment
from tests.unit.run.fakes import Behaviour, FakeBackend, always, do


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
