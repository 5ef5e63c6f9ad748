# SPDX-License-Identifier: GPL-2.0-only
"""Blocks dealt to hosts, and what comes back from them.

The hosts are real ones on fake backends; the engine between them and the coordinator is
a fake that does one task at a time, so that hosts die and lie where a test wants it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.cluster import coordinator, host, session
from experiments.cluster.bundle import Bundle
from experiments.errors import (
    ConfigError,
    ExperimentError,
    MissingRequirement,
    RunFailed,
)
from experiments.machine import facts
from experiments.model import Outcome, RunSpec
from experiments.paths import PROJECT
from experiments.plan import config
from experiments.run.attempts import Stopped
from experiments.run.lanes import LocalLanes
from experiments.run.runner import begun_by
from experiments.store.experiment import Experiment
from experiments.store.verify import verify_experiment
from experiments.support import locks
from tests.unit.cluster.fakes import (
    CONFIG,
    FACTS,
    NOW,
    Backend,
    Cluster,
    dies_in,
    lock_of_host,
)


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
