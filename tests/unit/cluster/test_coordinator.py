# SPDX-License-Identifier: GPL-2.0-only
"""Blocks dealt to hosts, and what comes back from them.

The hosts are real ones on fake backends; the engine between them and the coordinator is
a fake that does one task at a time, so that hosts die and lie where a test wants it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from experiments.cluster import coordinator, host, membership, session
from experiments.cluster.bundle import Bundle
from experiments.columns import CSV_COLUMNS
from experiments.commands import cluster
from experiments.errors import (
    ConfigError,
    ExperimentError,
    MissingRequirement,
    RunFailed,
)
from experiments.machine import facts
from experiments.model import ALONE, Job, Lane, Outcome, Plan, RunResult, RunSpec
from experiments.paths import PROJECT
from experiments.plan import config
from experiments.run.attempts import Stopped
from experiments.run.lanes import LocalLanes
from experiments.run.prepare import Prepared
from experiments.run.runner import begun_by, run_experiment
from experiments.store.experiment import Experiment
from experiments.store.verify import verify_experiment
from experiments.support import locks
from tests.unit.run.test_runner import FakeBackend, always

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


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def prepare(asked: config.Config, plan: Plan) -> Prepared:
        name = NOW[-1]._name
        known = made[-1].facts.get(name, FACTS)
        nothing = cast("Any", None)  # there is no lab root, and no kernel
        return Prepared(nothing, nothing, made[-1].backends[name], {}, known)

    monkeypatch.setattr(session, "prepare", prepare)
    # Each host has a cache, and so a lock, of its own
    monkeypatch.setattr(session, "measuring_lock", lambda: lock_of_host(tmp_path))
    monkeypatch.setattr(facts, "git_revision", lambda project: "1" * 40)
    monkeypatch.setattr(facts, "revision", lambda project: "commit 1, source 2")
    monkeypatch.setattr(membership, "GRACE_S", 0.0)

    def cluster(*names: str, **backends: Backend) -> Cluster:
        every = {name: Backend(always(Outcome.OK)) for name in names} | backends
        made.append(Cluster(tmp_path / "hosts", every))
        return made[-1]

    yield cluster
    for cluster_made in made:
        for member in cluster_made.members.values():
            member.close()


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Experiment]:
    def go(cluster: Cluster, **more: Any) -> Experiment:
        place = coordinator.ClusterHosts(cluster, CONFIG)
        return run_experiment(CONFIG, "e", tmp_path, place=place, **more)

    return go


def dies_in(run_number: int) -> Backend:
    def behaviour(n: int, spec: RunSpec) -> Outcome:
        if n == run_number:
            raise Died
        return Outcome.OK

    return Backend(behaviour)


def hosts_of_blocks(experiment: Experiment) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for result in experiment.results():
        found.setdefault(result.spec.block, set()).add(result.facts["host"])
    return found


def test_blocks_are_whole_and_files_are_what_they_were(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    cluster = make("a", "b")
    experiment = go(cluster)
    manifest = experiment.manifest()
    assert manifest.outcomes == {"OK": 8}
    by_block = hosts_of_blocks(experiment)
    assert all(len(names) == 1 for names in by_block.values())
    assert set().union(*by_block.values()) == {"a", "b"}
    assert set(manifest.facts["hosts"]) == {"a", "b"}
    assert manifest.facts["host"]["cpu"] == "fast"
    found = verify_experiment(experiment)
    assert (found.runs, found.wrong, found.unhashed) == (8, (), 0)


def test_boots_are_numbered_once_for_all_hosts(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    experiment = go(make("a", "b"))
    boots = experiment.manifest().boots
    assert [boot["boot"] for boot in boots] == [1, 2]
    for result in experiment.results():
        boot = boots[result.facts["boot"] - 1]
        assert boot["host"] == result.facts["host"]


def test_hosts_are_told_to_stop_and_keep_nothing(
    make: Callable[..., Cluster], go: Callable[..., Experiment], tmp_path: Path
) -> None:
    cluster = make("a", "b")
    go(cluster)
    assert set(cluster.stopped) == {"tcp://a", "tcp://b"}
    assert all(backend.closed for backend in cluster.backends.values())
    assert [list((tmp_path / "hosts" / name).iterdir()) for name in "ab"] == [[], []]


def test_not_more_than_two_blocks_a_host_are_dealt_ahead(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    cluster = make("a")
    go(cluster)
    assert cluster.most_at_once == coordinator.AHEAD == 2


def test_the_block_of_a_host_that_died_is_repeated_whole(
    make: Callable[..., Cluster], go: Callable[..., Experiment], tmp_path: Path
) -> None:
    cluster = make("b", a=dies_in(4))  # in the second run of its second block
    experiment = go(cluster)
    assert experiment.manifest().outcomes == {"OK": 8}
    assert [len(names) for names in hosts_of_blocks(experiment).values()] == [1] * 4
    assert len(cluster.backends["a"].done) == 4
    assert len(cluster.backends["b"].done) == 6
    assert "host_left" in (experiment.path / "events.jsonl").read_text()


def test_a_block_that_kills_its_hosts_is_lost_and_left_for_later(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    cluster = make("b", a=dies_in(2))
    cluster.kills = True
    experiment = go(cluster)
    assert experiment.manifest().outcomes == {"OK": 6, "LOST": 2}
    assert len(experiment.pending(experiment.manifest().specs)) == 2


def test_an_unlike_host_takes_no_part_and_the_difference_is_named(
    make: Callable[..., Cluster],
    go: Callable[..., Experiment],
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = make("a", "b", "c")
    other = {"key": "r", "packages": {"qemu": "10.2", "clang": "19"}}
    cluster.facts["a"] = {**FACTS, "labroot": other}
    experiment = go(cluster)
    assert set().union(*hosts_of_blocks(experiment).values()) == {"b", "c"}
    assert "labroot packages qemu is 10.2, not 10.1" in capsys.readouterr().out


def test_machines_may_differ_in_their_cpu(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    cluster = make("a", "b")
    cluster.facts["a"] = {**FACTS, "host": {"cpu": "slow", "cpus": 64}}
    experiment = go(cluster)
    known = experiment.manifest().facts
    assert known["hosts"]["a"]["cpu"] == "slow"
    assert "several" in known["host"]["cpu"], "no machine whose noise holds for it"


def test_without_a_host_that_is_like_the_experiment_it_is_an_error(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    go(make("a"))
    cluster = make("a")
    cluster.facts["a"] = {**FACTS, "kernel_sha256": "another"}
    with pytest.raises(MissingRequirement, match="kernel_sha256 is another, not k"):
        go(cluster)


def test_another_code_is_refused_and_both_are_named(
    make: Callable[..., Cluster],
    go: Callable[..., Experiment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = make("a")
    cluster.members["tcp://a"]._revision = "commit 3, source 4"
    cluster.members["tcp://a"]._source = "4"
    said = r"commit 3, source 4\) than that of the coordinator \(commit 1, source 2\)"
    with pytest.raises(MissingRequirement, match=said):
        go(cluster)


def test_code_that_changed_under_a_worker_is_refused(
    make: Callable[..., Cluster],
    go: Callable[..., Experiment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = facts.source_sha256(PROJECT)
    hashes = iter([source, "changed"])  # the coordinator's, the host's own
    cluster = make("a")
    monkeypatch.setattr(facts, "source_sha256", lambda project: next(hashes))
    with pytest.raises(MissingRequirement, match="start it anew"):
        go(cluster)


def test_what_was_stopped_is_gone_on_with(
    make: Callable[..., Cluster], go: Callable[..., Experiment], tmp_path: Path
) -> None:
    cluster = make("a", "b")
    cluster.interrupt_after = 4  # two answers, two blocks
    with pytest.raises(KeyboardInterrupt):
        go(cluster)
    assert set(cluster.stopped) == {"tcp://a", "tcp://b"}
    assert not cluster.tasks or all(task.is_done for task in cluster.tasks)
    assert not any((tmp_path / "hosts/a").iterdir())
    before = Experiment(tmp_path / "e")
    done = {s.block for s in before.finished(before.manifest().specs)}
    assert 0 < len(done) < 4
    again = make("b", "c")
    experiment = go(again)
    assert experiment.manifest().outcomes == {"OK": 8}
    assert not done & {block for blocks in again.blocks for block in blocks}


def test_half_a_block_is_for_the_host_that_began_it(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    skips = Backend(lambda n, s: Outcome.SKIPPED if n == 2 else Outcome.OK)
    experiment = go(make(a=skips))
    (left,) = experiment.pending(experiment.manifest().specs)
    with pytest.raises(ConfigError, match=f"{left.block} on a"):
        LocalLanes(CONFIG).owners(begun_by(experiment, [left]))
    with pytest.raises(RunFailed, match=f"block {left.block} by a"):
        go(make("b"))
    there = make("b", "a")
    assert go(there).manifest().outcomes == {"OK": 8}
    assert there.backends["a"].done == [left.label]
    assert there.backends["b"].done == []


def test_what_is_decided_is_not_dealt(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    experiment = go(make("a"), is_decided=lambda found, s: bool(list(found.results())))
    # Two are dealt before the first is known
    assert experiment.manifest().outcomes == {"OK": 4}
    assert len(experiment.manifest().facts["blocks_not_needed"]) == 2


def test_files_that_are_not_those_that_were_hashed_are_not_taken(
    make: Callable[..., Cluster],
    go: Callable[..., Experiment],
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = make("a", "b")

    def tamper(bundle: Bundle) -> Bundle:
        if bundle.host == "b":
            return bundle
        run = bundle.runs[0]
        file = dataclasses.replace(run.attempts[-1][0], data=b"better figures")
        changed = dataclasses.replace(run, attempts=((file, *run.attempts[-1][1:]),))
        return dataclasses.replace(bundle, runs=(changed, *bundle.runs[1:]))

    cluster.tamper = tamper
    experiment = go(cluster)
    assert set().union(*hosts_of_blocks(experiment).values()) == {"b"}
    assert "samples.csv has another hash" in capsys.readouterr().out


def test_a_host_that_cannot_go_on_gives_its_block_back(
    make: Callable[..., Cluster],
    go: Callable[..., Experiment],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(n: int, spec: RunSpec) -> Outcome:
        raise ExperimentError("its disk is full")

    experiment = go(make("b", a=Backend(fails)))
    assert experiment.manifest().outcomes == {"OK": 8}
    assert "takes no part: its disk is full" in capsys.readouterr().out


def test_what_a_bad_run_left_is_collected(
    make: Callable[..., Cluster], go: Callable[..., Experiment]
) -> None:
    def behaviour(n: int, spec: RunSpec) -> Outcome:
        return {1: Outcome.LOST, 2: Outcome.EJECTED}.get(n, Outcome.OK)

    experiment = go(make(a=Backend(behaviour)))
    manifest = experiment.manifest()
    assert manifest.outcomes == {"EJECTED": 1, "OK": 7}
    assert manifest.retries == 1
    (bad,) = [r for r in experiment.results() if r.outcome is Outcome.EJECTED]
    left = [path.name for path in experiment.attempts(bad.spec)]
    assert left == [f"{bad.run_id}-1", f"{bad.run_id}-2"]
    assert (experiment.attempts(bad.spec)[1] / "dmesg.log").exists()
    assert verify_experiment(experiment).wrong == ()


def test_who_waits_for_the_machine_can_be_stopped(
    make: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make("a")
    member = cluster.members["tcp://a"]
    NOW.append(member)
    order = session.BlockRequest("token", "e", {"schema": 1}, FACTS, ())
    with locks.locked(lock_of_host(tmp_path), "another experiment"):
        member.stop("token")
        with pytest.raises(Stopped):
            member.run_block(order, lambda said: None)


def test_a_guest_that_is_not_needed_ends_after_a_while(
    make: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "IDLE_S", 0.1)
    cluster = make("a")
    member = cluster.members["tcp://a"]
    NOW.append(member)
    order = session.BlockRequest(
        "token", "e", CONFIG.model_dump(by_alias=True), FACTS, ()
    )
    member.run_block(order, lambda said: None)
    timer = member._timer
    assert timer is not None
    timer.join(10)
    assert cluster.backends["a"].closed == 1
    assert locks.owner(lock_of_host(tmp_path)) is None


@pytest.mark.parametrize("where", ["there", "", "10.0.0.1:8786"])
def test_where_is_here_or_a_cluster(where: str) -> None:
    with pytest.raises(ConfigError, match="--on"):
        config.load_config(where=where)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"backend": "host"}, "run guests: not host"),
        ({"vm": {"jobs": 2}}, "one run at a time"),
    ],
)
def test_what_hosts_do_not_do_is_refused(
    make: Callable[..., Cluster], tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    parsed = config.parse_config({"schema": 1, **asked}, "test")
    with pytest.raises(ConfigError, match=said):
        coordinator.ClusterHosts(make("a"), parsed)


@pytest.mark.parametrize(
    ("address", "is_safe"),
    [
        ("tls://10.0.0.1:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://10.0.0.1:8786", False),
        ("tcp://localhost.example:8786", False),
        ("tcp://127.0.0.1.example:8786", False),
        ("ucx://10.0.0.1:8786", False),
    ],
)
def test_which_addresses_a_worker_joins_without_being_told(
    address: str, is_safe: bool
) -> None:
    assert cluster._is_safe(address) is is_safe
