# SPDX-License-Identifier: GPL-2.0-only
"""A cluster of hosts that die, differ or stay away as they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.cluster import host, membership, session
from experiments.cluster.bundle import Bundle
from experiments.columns import CSV_COLUMNS
from experiments.model import ALONE, Job, Lane, Outcome, RunResult, RunSpec
from experiments.plan import config
from experiments.store.experiment import Experiment
from tests.unit.run.fakes import FakeBackend

FACTS: dict[str, Any] = {
    "scxlab": "0",
    "git": None,
    "host": {"cpu": "fast", "cpus": 2},
    "kernel_sha256": "k",
    "labroot": {"key": "r", "packages": {"qemu": "10.1", "clang": "19"}},
    "objects": {"scx_simple/control": {"sha256": "aa"}},
}


CONFIG = config.parse_config({"schema": 1, "iterations": 4, "where": "dask"}, "test")


class Died(BaseException):
    """The host is gone from one instruction to the next."""


class Backend(FakeBackend):
    """One that boots, and writes what `verify` looks at."""

    def begin(self, experiment: Experiment, lane: Lane = ALONE) -> None:
        self._experiment = experiment
        self._boot = 0
        self.closed = 0

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        if not self._boot:
            self._boot = self._experiment.add_boot({"boot_s": 1.0})
        result = super().execute(job, tick)
        header = ",".join(CSV_COLUMNS)
        (job.out_dir / "samples.csv").write_text(f"{header}\n")
        return dataclasses.replace(result, facts={"boot": self._boot})

    def close(self) -> None:
        self.closed += 1


@dataclasses.dataclass(eq=False)
class Task:
    do: Callable[[host.Host], Any]
    hosts: tuple[str, ...]
    result: Any = None
    is_done: bool = False


class Cluster:
    """Does one task in each `wait`, by the hosts in turn."""

    def __init__(self, folder: Path, backends: Mapping[str, Backend]) -> None:
        self.backends = dict(backends)
        self.members = {f"tcp://{n}": host.Host(n, folder / n) for n in backends}
        self.facts: dict[str, Mapping[str, Any]] = {}
        self.tasks: list[Task] = []
        self.most_at_once = 0
        self.blocks: list[tuple[int, ...]] = []
        self.heard: list[Mapping[str, Any]] = []
        self.stopped: list[str] = []
        self.tamper: Callable[[Bundle], Bundle] = lambda bundle: bundle
        self.interrupt_after = -1
        self.kills = False

    def hosts(self) -> dict[str, str]:
        return {where: where.removeprefix("tcp://") for where in self.members}

    def ask(
        self, key: str, host: str, config: Mapping[str, Any], source: str, revision: str
    ) -> Task:
        return self._add(lambda h: h.describe(config, source, revision), (host,))

    def submit(
        self, key: str, hosts: Sequence[str], request: session.BlockRequest
    ) -> Task:
        self.blocks.append(tuple({spec.block for spec in request.specs}))
        return self._add(lambda h: h.run_block(request, self._tell), tuple(hosts))

    def _add(self, do: Callable[[host.Host], Any], hosts: tuple[str, ...]) -> Task:
        self.tasks.append(Task(do, hosts))
        left = [task for task in self.tasks if not task.is_done]
        self.most_at_once = max(self.most_at_once, len(left))
        return self.tasks[-1]

    def wait(self, tasks: Collection[Task], timeout_s: float) -> list[Task]:
        if timeout_s:
            self._work()
        return [task for task in tasks if task.is_done]

    def _work(self) -> None:
        for task in [task for task in self.tasks if not task.is_done]:
            for where in [w for w in self.members if w in task.hosts]:
                self.members[where] = self.members.pop(where)  # it is last now
                if self._do(task, where):
                    return

    def _do(self, task: Task, where: str) -> bool:
        if self.interrupt_after == 0:
            raise KeyboardInterrupt
        self.interrupt_after -= 1
        member = self.members[where]
        NOW.append(member)
        try:
            task.result = task.do(member)
        except Died:
            del self.members[where]
            if self.kills:
                task.result, task.is_done = membership.HostsDied("they all died"), True
            return self.kills
        task.is_done = True
        return True

    def result(self, task: Task) -> Any:
        if isinstance(task.result, Exception):
            raise task.result
        if isinstance(task.result, Bundle):
            return self.tamper(task.result)
        return task.result

    def cancel(self, tasks: Collection[Task]) -> None:
        self.tasks = [task for task in self.tasks if task not in set(tasks)]

    def listen(self, token: str, hear: Callable[[Mapping[str, Any]], None]) -> None:
        self._hear = hear

    def _tell(self, said: Mapping[str, Any]) -> None:
        self.heard.append(said)
        self._hear(said)

    def stop(self, token: str, hosts: Collection[str]) -> None:
        for where in [w for w in hosts if w in self.members]:
            self.stopped.append(where)
            self.members[where].stop(token)


#: The host that does something now is the last.
NOW: list[host.Host] = []


def lock_of_host(folder: Path) -> Path:
    return folder / f"{NOW[-1]._name}.lock"


def dies_in(run_number: int) -> Backend:
    def behaviour(n: int, spec: RunSpec) -> Outcome:
        if n == run_number:
            raise Died
        return Outcome.OK

    return Backend(behaviour)
