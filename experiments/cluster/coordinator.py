# SPDX-License-Identifier: GPL-2.0-only
"""An experiment on the hosts of a cluster: blocks are dealt whole, results collected.

Blocks are dealt as hosts become free and not all at once, so that what is decided, or
stopped, is not begun any more. A block whose host died is done again by another one,
from its beginning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import paths, registry
from experiments.cluster.bundle import Bundle, unpack
from experiments.cluster.host import Failure
from experiments.cluster.membership import (
    POLL_S,
    Cluster,
    Hosts,
    HostsDied,
    SchedulerGone,
)
from experiments.cluster.session import Order
from experiments.errors import ConfigError, FormatError, RunFailed
from experiments.machine import facts
from experiments.model import Outcome, Plan, RunResult, RunSpec
from experiments.plan import blocks
from experiments.plan.config import HERE, Config
from experiments.run.lanes import Blocks, IsDecided, never, say_unneeded
from experiments.run.progress import Watch
from experiments.run.runner import (
    HOST,
    announce,
    begun_on,
    checked_name,
    default_name,
    owned,
)
from experiments.store.experiment import Experiment
from experiments.support.console import say

#: Blocks a host has at most: the one it does, and the next.
AHEAD = 2


def run(
    cluster: Cluster,
    config: Config,
    name: str | None = None,
    root_dir: Path | None = None,
    is_decided: IsDecided = never,
) -> Experiment:
    """Do what is left of the experiment that `config` describes, on `cluster`.

    Raises MissingRequirement when no host takes part, RunFailed when blocks are left
    that only hosts can end that are not there.
    """
    _check(config)
    planned = blocks.build(config)
    raw = _everywhere(config).model_dump(mode="json", by_alias=True)
    token = secrets.token_hex(6)
    source, revision = facts.source_sha256(paths.PROJECT), facts.revision(paths.PROJECT)
    hosts = Hosts(cluster, token, raw, source, revision)
    root_dir = root_dir or paths.RESULTS
    agreed = hosts.settle(_facts_of(root_dir, name))
    path = root_dir / checked_name(name or default_name(config, planned, agreed))
    # The commit is ours: a host whose code is the same may have no checkout
    known = {**agreed, "git": facts.git_revision(paths.PROJECT)}
    experiment = Experiment.create(path, planned, raw, known)
    with owned(experiment):
        experiment.settle()
        # The scheduler may have moved since
        experiment.update(
            config={**experiment.manifest().config, "where": config.where}
        )
        order = Order(token, path.name, raw, agreed, ())
        _do(experiment, planned, cluster, hosts, order, is_decided)
    return experiment


def _check(config: Config) -> None:
    """Raises ConfigError for what hosts of a cluster do not do."""
    if registry.backend(config.backend).is_this_machine:
        raise ConfigError(f"the hosts of a cluster run guests: not {config.backend}")
    if config.vm.jobs != 1:
        raise ConfigError(
            f"vm.jobs is {config.vm.jobs}: a host of a cluster does one run at a time"
        )


def _everywhere(config: Config) -> Config:
    """Files are named so that a host finds them at the same place."""

    def absolute(text: str) -> str:
        if "/" not in text and not text.endswith((".c", ".o")):
            return text
        return ":".join(str(Path(part).resolve()) for part in text.split(":"))

    vm = config.vm
    if vm.kernel is not None:
        vm = vm.model_copy(update={"kernel": vm.kernel.resolve()})
    return config.model_copy(
        update={
            "schedulers": tuple(map(absolute, config.schedulers)),
            "include": tuple(path.resolve() for path in config.include),
            "vm": vm,
        }
    )


def _facts_of(root_dir: Path, name: str | None) -> Mapping[str, Any] | None:
    """Those of an experiment that is gone on with by its name."""
    if name is None:
        return None
    before = Experiment(root_dir / checked_name(name))
    return before.manifest().facts if before.manifest_path.exists() else None


def _do(
    experiment: Experiment,
    planned: Plan,
    cluster: Cluster,
    hosts: Hosts,
    order: Order,
    is_decided: IsDecided,
) -> None:
    pending = experiment.pending(planned.specs)
    there = len(hosts.accepted())
    say(announce(experiment, planned, pending, there, f" on {there} hosts"))
    if not pending:
        cluster.stop(order.token, hosts.accepted())
        return
    dealer = Dealer(experiment, cluster, hosts, order, pending, is_decided)
    dealer.run()
    if left := dealer.left_over():
        said = ", ".join(f"block {b.number} by {b.host}" for b in left)
        raise RunFailed(
            f"not done: {said}, who has begun and has to end it, and is not in the "
            f"cluster: start that worker, then invoke resume {experiment.path.name} "
            "(with --on here where `here` has begun)"
        )


@dataclass(frozen=True)
class _Block:
    """``host`` is the only one that may do it, or empty."""

    number: int
    specs: tuple[RunSpec, ...]
    host: str = ""


class Dealer:
    """Deals the blocks of `pending`, and puts in place what comes of them."""

    def __init__(
        self,
        experiment: Experiment,
        cluster: Cluster,
        hosts: Hosts,
        order: Order,
        pending: Sequence[RunSpec],
        is_decided: IsDecided = never,
    ) -> None:
        self._experiment = experiment
        self._cluster = cluster
        self._hosts = hosts
        self._order = order
        self._left = {spec.run_id: spec for spec in pending}
        self._watch = Watch(experiment, pending, len(hosts.accepted()))
        begun = begun_on(experiment, pending)
        self._back = list(_halves(pending, begun))
        whole = [spec for spec in pending if spec.block not in begun]
        self._blocks = Blocks(experiment, whole, is_decided, self._watch)
        self._flying: dict[Any, tuple[_Block, list[str]]] = {}
        self._dealt = 0
        self._recorded: Mapping[str, Any] = {}

    def run(self) -> None:
        self._cluster.listen(self._order.token, self._hear)
        self._hosts.tell = self._watch.happened
        with self._watch.showing():
            try:
                self._look()
                while self._deal():
                    for task in self._cluster.wait(self._flying, POLL_S):
                        self._land(task)
                        self._deal()  # many may land at once; no host waits for that
                    self._look()
            finally:
                self._end()
        say_unneeded(self._experiment, self._blocks.unneeded)

    def left_over(self) -> list[_Block]:
        """The blocks that only a host can do that is not there."""
        return list(self._back)

    def _end(self) -> None:
        # Hosts whose scheduler has gone end by themselves
        with contextlib.suppress(SchedulerGone):
            self._cluster.cancel(list(self._flying))
            self._cluster.stop(self._order.token, self._hosts.accepted())

    # --- dealing ----------------------------------------------------------------------

    def _deal(self) -> bool:
        """Give the hosts what they have room for; whether there is anything to do."""
        while len(self._flying) < AHEAD * len(self._hosts.accepted()):
            if (block := self._take()) is None:
                break
            self._submit(block)
        waiting = any(not block.host for block in self._back)
        return bool(self._flying or waiting or self._blocks.any_left)

    def _take(self) -> _Block | None:
        there = {"", *self._hosts.accepted().values()}
        for block in self._back:
            if block.host in there:
                self._back.remove(block)
                return block
        specs = self._blocks.take()
        return _Block(specs[0].block, tuple(specs)) if specs else None

    def _submit(self, block: _Block) -> None:
        hosts = [
            where
            for where, name in self._hosts.accepted().items()
            if block.host in ("", name)
        ]
        self._dealt += 1
        order = dataclasses.replace(self._order, specs=block.specs)
        name = f"scxlab-{order.experiment}-{order.token}"
        key = f"{name}-block{block.number}-{self._dealt}"
        self._flying[self._cluster.submit(key, hosts, order)] = block, hosts

    def _look(self) -> None:
        """Who is there; what none but hosts that have gone could do comes back."""
        self._hosts.look()
        self._hosts.check_not_alone()
        there = self._hosts.accepted()
        self._watch.set_lanes(len(there))
        for task, (block, hosts) in list(self._flying.items()):
            if not set(hosts) & set(there):
                del self._flying[task]
                self._cluster.cancel([task])
                self._back.append(block)
        self._record_hosts()

    def _record_hosts(self) -> None:
        """In the manifest: every host that has taken part, also in earlier sessions."""
        machines = self._hosts.facts()
        if machines == self._recorded:
            return
        self._recorded = machines
        known = self._experiment.manifest().facts
        every = {**known.get("hosts", {}), **machines}
        one = _what_all_are(list(every.values()))
        self._experiment.update(facts={**known, "hosts": every, "host": one})

    # --- collecting -------------------------------------------------------------------

    def _hear(self, said: Mapping[str, Any]) -> None:
        """A host tells of a run; in a thread of its own, and maybe late."""
        spec = self._left.get(said["run_id"])
        if spec is None:
            return
        if said["what"] == "begins":
            self._watch.begins(spec, said["attempt"], said["host"])
        elif said["what"] == "lost":
            self._watch.lost(spec, said["attempt"], said["reason"], said["host"])

    def _land(self, task: Any) -> None:
        block, _ = self._flying.pop(task)
        try:
            result = self._cluster.result(task)
        except HostsDied as died:
            self._lost(block, str(died))
            return
        if isinstance(result, Bundle):
            self._put_in_place(block, result)
        else:
            assert isinstance(result, Failure)
            self._return(block, result.host, result.reason)

    def _return(self, block: _Block, host: str, reason: str) -> None:
        self._hosts.refuse_name(host, reason)
        self._back.append(block)

    def _put_in_place(self, block: _Block, bundle: Bundle) -> None:
        try:
            for result, wall_s in unpack(self._experiment, bundle, block.specs, HOST):
                self._ended(result, wall_s, bundle.host)
        except FormatError as error:
            self._return(block, bundle.host, str(error))

    def _lost(self, block: _Block, reason: str) -> None:
        """A block that kills its hosts is not dealt again before it is resumed."""
        for spec in block.specs:
            result = RunResult(spec, spec.run_id, Outcome.LOST, reason)
            self._experiment.finish(result, self._experiment.new_attempt(spec))
            self._ended(result, 0.0, "")

    def _ended(self, result: RunResult, wall_s: float, host: str) -> None:
        del self._left[result.run_id]
        self._watch.ended(result, wall_s, host)


def _halves(pending: Sequence[RunSpec], begun: Mapping[int, str]) -> Iterator[_Block]:
    """What is left of blocks that were begun, for those who began them.

    Begun without a cluster: for the machine that has, which is no host.
    """
    for number, host in begun.items():
        specs = tuple(spec for spec in pending if spec.block == number)
        yield _Block(number, specs, host or HERE)


def _what_all_are(machines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a machine's noise is looked up by; of unlike machines there is none."""
    if len({(m.get("cpu"), m.get("cpus")) for m in machines}) == 1:
        return {k: v for k, v in machines[0].items() if k != "git"}
    return {"cpu": "several kinds: see hosts", "cpus": None}
