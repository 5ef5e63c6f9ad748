# SPDX-License-Identifier: GPL-2.0-only
"""The hosts of a cluster as a place for runs: blocks go out whole, results come back.

Blocks are dealt as hosts become free and not all at once, so that what is decided, or
stopped, is not begun any more. A block whose host died is done again by another one,
from its beginning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator, Mapping, Sequence
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
from experiments.cluster.session import BlockRequest
from experiments.errors import ConfigError, FormatError
from experiments.machine import facts
from experiments.model import Outcome, Plan, RunResult
from experiments.plan.config import HERE, Config
from experiments.run.block_queue import Block, BlockQueue
from experiments.run.progress import RunProgress
from experiments.run.runner import HOST, recorded
from experiments.store.experiment import Experiment

#: Blocks a host has at most: the one it does, and the next.
AHEAD = 2


class ClusterHosts:
    """The `Place` that is the hosts of a cluster."""

    def __init__(self, cluster: Cluster, config: Config) -> None:
        _check(config)
        self.config = _everywhere(config)
        self._cluster = cluster
        self._token = secrets.token_hex(6)
        source = facts.source_sha256(paths.PROJECT)
        revision = facts.revision(paths.PROJECT)
        raw = recorded(self.config)
        self._hosts = Hosts(cluster, self._token, raw, source, revision)
        self._agreed: Mapping[str, Any] = {}

    def prepare(
        self, plan: Plan, before: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """Wait for hosts; raises MissingRequirement when none takes part."""
        self._agreed = self._hosts.settle(before)
        # The commit is ours: a host whose code is the same may have no checkout
        return {**self._agreed, "git": facts.git_revision(paths.PROJECT)}

    @contextlib.contextmanager
    def held_for(self, experiment: Experiment) -> Iterator[None]:
        """Every host holds its own machine while it has a block."""
        try:
            yield
        finally:
            # Hosts whose scheduler has gone end by themselves
            with contextlib.suppress(SchedulerGone):
                self._cluster.stop(self._token, self._hosts.accepted())

    def owners(self, begun: Mapping[int, str]) -> Mapping[int, str]:
        """Return who has to end each begun block: HERE for those begun without it."""
        return {block: host or HERE for block, host in begun.items()}

    @property
    def width(self) -> int:
        return len(self._hosts.accepted())

    @property
    def description(self) -> str:
        return f" on {self.width} hosts"

    def run(
        self, experiment: Experiment, blocks: BlockQueue, progress: RunProgress
    ) -> None:
        request = BlockRequest(
            self._token, experiment.path.name, recorded(self.config), self._agreed, ()
        )
        Coordinator(
            experiment, self._cluster, self._hosts, request, blocks, progress
        ).run()


def _check(config: Config) -> None:
    """Raise ConfigError for what hosts of a cluster do not do."""
    if registry.backend(config.backend).is_this_machine:
        raise ConfigError(f"the hosts of a cluster run guests: not {config.backend}")
    if config.vm.jobs != 1:
        raise ConfigError(
            f"vm.jobs is {config.vm.jobs}: a host of a cluster does one run at a time"
        )


def _everywhere(config: Config) -> Config:
    """Return the config with its files named so that a host finds them there, too."""

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


class Coordinator:
    """Deals the blocks of a queue to hosts, and puts in place what comes of them."""

    def __init__(
        self,
        experiment: Experiment,
        cluster: Cluster,
        hosts: Hosts,
        request: BlockRequest,
        blocks: BlockQueue,
        progress: RunProgress,
    ) -> None:
        self._experiment = experiment
        self._cluster = cluster
        self._hosts = hosts
        self._request = request
        self._blocks = blocks
        self._progress = progress
        self._specs = {spec.run_id: spec for spec in blocks.specs}
        #: task -> its block, and the addresses of the hosts that may do it
        self._in_flight: dict[Any, tuple[Block, Sequence[str]]] = {}
        self._submitted = 0
        self._recorded: Mapping[str, Any] = {}

    def run(self) -> None:
        """Deal and collect until nothing is left that these hosts can do."""
        self._cluster.listen(self._request.token, self._on_event)
        self._hosts.on_change = self._progress.happened
        try:
            self._poll_hosts()
            while self._deal():
                for task in self._cluster.wait(self._in_flight, POLL_S):
                    self._collect(task)
                    self._deal()  # many may end at once; no host waits for that
                self._poll_hosts()
        finally:
            with contextlib.suppress(SchedulerGone):
                self._cluster.cancel(list(self._in_flight))

    # --- dealing ----------------------------------------------------------------------

    def _deal(self) -> bool:
        """Give the hosts what they have room for; return whether there is work left."""
        while len(self._in_flight) < AHEAD * len(self._hosts.accepted()):
            block = self._blocks.take(self._hosts.accepted().values())
            if block is None:
                break
            self._submit(block)
        return bool(self._in_flight or self._blocks.has_more)

    def _submit(self, block: Block) -> None:
        able = [
            address
            for address, name in self._hosts.accepted().items()
            if block.owner in ("", name)
        ]
        self._submitted += 1
        request = dataclasses.replace(self._request, specs=block.specs)
        name = f"scxlab-{request.experiment}-{request.token}"
        key = f"{name}-block{block.number}-{self._submitted}"
        self._in_flight[self._cluster.submit(key, able, request)] = block, able

    def _poll_hosts(self) -> None:
        """Note who is there; take back what none but hosts that have gone could do."""
        self._hosts.poll()
        self._hosts.check_not_alone()
        there = self._hosts.accepted()
        self._progress.set_lanes(len(there))
        for task, (block, able) in list(self._in_flight.items()):
            if not set(able) & set(there):
                del self._in_flight[task]
                self._cluster.cancel([task])
                self._blocks.put_back(block)
        self._record_hosts()

    def _record_hosts(self) -> None:
        """Record every host that has taken part, also in earlier sessions."""
        machines = self._hosts.facts()
        if machines == self._recorded:
            return
        self._recorded = machines
        known = self._experiment.manifest().facts
        every = {**known.get("hosts", {}), **machines}
        one = _what_all_are(list(every.values()))
        self._experiment.update(facts={**known, "hosts": every, "host": one})

    # --- collecting -------------------------------------------------------------------

    def _on_event(self, event: Mapping[str, Any]) -> None:
        """Show what a host tells of a run; in a thread of its own, and maybe late."""
        spec = self._specs.get(event["run_id"])
        if spec is None:
            return
        if event["what"] == "begins":
            self._progress.begins(spec, event["attempt"], event["host"])
        elif event["what"] == "lost":
            self._progress.lost(spec, event["attempt"], event["reason"], event["host"])

    def _collect(self, task: Any) -> None:
        block, _ = self._in_flight.pop(task)
        try:
            result = self._cluster.result(task)
        except HostsDied as died:
            self._record_lost(block, str(died))
            return
        if isinstance(result, Bundle):
            self._put_in_place(block, result)
        else:
            assert isinstance(result, Failure)
            self._refuse_host(block, result.host, result.reason)

    def _refuse_host(self, block: Block, host: str, reason: str) -> None:
        self._hosts.refuse_name(host, reason)
        self._blocks.put_back(block)

    def _put_in_place(self, block: Block, bundle: Bundle) -> None:
        try:
            for result, wall_s in unpack(self._experiment, bundle, block.specs, HOST):
                self._ended(result, wall_s, bundle.host)
        except FormatError as error:
            self._refuse_host(block, bundle.host, str(error))

    def _record_lost(self, block: Block, reason: str) -> None:
        """Record all runs of a block whose hosts died as LOST."""
        for spec in block.specs:
            result = RunResult(spec, spec.run_id, Outcome.LOST, reason)
            self._experiment.finish(result, self._experiment.new_attempt(spec))
            self._ended(result, 0.0, "")

    def _ended(self, result: RunResult, wall_s: float, host: str) -> None:
        del self._specs[result.run_id]
        self._progress.ended(result, wall_s, host)


def _what_all_are(machines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what a machine's noise is looked up by; unlike machines have none."""
    if len({(m.get("cpu"), m.get("cpus")) for m in machines}) == 1:
        return {k: v for k, v in machines[0].items() if k != "git"}
    return {"cpu": "several kinds: see hosts", "cpus": None}
