# SPDX-License-Identifier: GPL-2.0-only
"""Which hosts of a cluster take part: those that are alike in what runs must share.

Machines may differ in CPU and name, for control and test of a block are of one host;
code, kernel, lab root, objects, tools and accelerator may not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from experiments.cluster.bundle import Bundle
from experiments.cluster.host import Failure, HostReport
from experiments.cluster.session import BlockRequest
from experiments.errors import ExperimentError, MissingRequirement
from experiments.store.comparable import unlike
from experiments.support.console import say

#: So long a host is waited for where there is none.
GRACE_S = 30.0
#: So long those that have answered wait for the others: one may build, or be busy.
ASK_S = 90.0
POLL_S = 1.0

#: Of the differences of a host so many are named.
_NAMED = 4


class HostsDied(Exception):
    """So many hosts died under a block that the scheduler gave it up."""


class SchedulerGone(ExperimentError):
    """The cluster cannot be reached any more."""


class Cluster(Protocol):
    """Hosts are known by their addresses; a task is whatever the engine calls so.

    Every method raises SchedulerGone when there is no cluster any more.
    """

    def hosts(self) -> Mapping[str, str]:
        """Return address -> name of the hosts that are there now."""

    def ask(
        self, key: str, host: str, config: Mapping[str, Any], source: str, revision: str
    ) -> Any:
        """Return a task: the HostReport of the host at the address `host`."""

    def submit(self, key: str, hosts: Sequence[str], request: BlockRequest) -> Any:
        """Return a task: a block, done by any one of `hosts`.

        By another if that one dies.
        """

    def wait(self, tasks: Collection[Any], timeout_s: float) -> Sequence[Any]:
        """Return those of `tasks` that have ended, at the latest after `timeout_s`."""

    def result(self, task: Any) -> HostReport | Bundle | Failure:
        """Return what an ended task returned.

        Raises HostsDied, or what the task raised.
        """

    def cancel(self, tasks: Collection[Any]) -> None: ...

    def listen(self, token: str, hear: Callable[[Mapping[str, Any]], None]) -> None:
        """Have `hear` called with what hosts tell, in a thread of its own."""

    def stop(self, token: str, hosts: Collection[str]) -> None:
        """Have hosts end what they do for the runner `token`, and its guests."""


class OnChange(Protocol):
    """Shows an event of the cluster; `RunProgress.happened` does."""

    def __call__(self, event: str, text: str, **said: Any) -> None: ...


def _say(event: str, text: str, **said: Any) -> None:
    say(f"  {text}")


class Hosts:
    """The hosts there are, what they said, and whether they take part."""

    def __init__(
        self,
        cluster: Cluster,
        token: str,
        config: Mapping[str, Any],
        source: str,
        revision: str,
    ) -> None:
        self._cluster = cluster
        self._token = token
        self._question = (config, source, revision)
        self._names: dict[str, str] = {}
        self._asked: dict[Any, str] = {}
        self._reports: dict[str, HostReport] = {}
        self._refused: dict[str, str] = {}
        self._agreed: Mapping[str, Any] | None = None
        self._alone_since: float | None = None
        self.on_change: OnChange = _say

    def accepted(self) -> dict[str, str]:
        """Return address -> name of those that take part."""
        return {where: self._names[where] for where in self._reports}

    def settle(self, agreed: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Wait for what the hosts are; the facts of those that take part.

        They are `agreed`, or else those that most hosts share. Raises
        MissingRequirement naming every host and its reason when none takes part.
        """
        began = time.monotonic()
        while self._asked or not self._reports:
            self.poll()
            self.check_not_alone(0.0 if self._refused else GRACE_S)
            if self._reports and time.monotonic() - began > ASK_S:
                break
            self._cluster.wait(self._asked, POLL_S)
        self._agreed = agreed or _most_common(list(self._reports.values()))
        for where, report in list(self._reports.items()):
            self._judge(where, report)
        self.check_not_alone(0.0)
        return self._agreed

    def poll(self) -> None:
        """Take note of who has come, answered, and gone."""
        there = self._cluster.hosts()
        for where in [w for w in self._names if w not in there]:
            self._leave(where)
        for where, name in there.items():
            if where not in self._names:
                self._names[where] = name
                key = f"scxlab-{self._token}-what-is-{name}-{where}"
                task = self._cluster.ask(key, where, *self._question)
                self._asked[task] = where
        for task in self._cluster.wait(self._asked, 0) if self._asked else ():
            self._hear(task)

    def _leave(self, where: str) -> None:
        name = self._names.pop(where)
        if self._reports.pop(where, None):
            text = f"host {name} has gone: its blocks are repeated by others"
            self.on_change("host_left", text, host=name)
        self._refused.pop(where, None)
        tasks = [task for task, asked in self._asked.items() if asked == where]
        for task in tasks:
            del self._asked[task]
        self._cluster.cancel(tasks)

    def _hear(self, task: Any) -> None:
        where = self._asked.pop(task)
        try:
            report = self._cluster.result(task)
        except (ImportError, AttributeError, TypeError) as error:
            # What other code makes of a question that it does not know
            self.refuse(where, f"its code does not understand us: {error}")
            return
        assert isinstance(report, HostReport)
        if report.problem:
            self.refuse(where, report.problem)
            return
        self._reports[where] = report
        if self._agreed is not None:
            self._judge(where, report)

    def _judge(self, where: str, report: HostReport) -> None:
        assert self._agreed is not None
        if found := list(unlike(self._agreed, report.facts)):
            said = [f"{what} is {y}, not {x}" for what, x, y in found[:_NAMED]]
            if more := len(found) - len(said):
                said.append(f"and {more} more")
            self.refuse(where, f"it is not like the others: {'; '.join(said)}")
        else:
            name, host = self._names[where], report.facts.get("host", {})
            about = f"{host.get('cpus')} CPUs, {host.get('cpu')}"
            self.on_change("host_joined", f"host {name} takes part: {about}", host=name)

    def refuse(self, where: str, reason: str) -> None:
        """Give the host at `where` no part as long as it stays."""
        self._reports.pop(where, None)
        if where in self._names and where not in self._refused:
            self._refused[where] = reason
            text = f"host {self._names[where]} ({where}) takes no part: {reason}"
            self.on_change("host_refused", text, host=self._names[where], reason=reason)

    def refuse_name(self, name: str, reason: str) -> None:
        """Refuse the host called `name`, if it is there."""
        for where, known in list(self._names.items()):
            if known == name:
                self.refuse(where, reason)

    def check_not_alone(self, grace_s: float = GRACE_S) -> None:
        """Raise MissingRequirement when nobody took part for `grace_s`."""
        if self._reports or self._asked:
            self._alone_since = None
            return
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
            if grace_s:
                self.on_change("no_host", f"no host is there; waiting {grace_s:.0f} s")
        if now - self._alone_since >= grace_s:
            said = "".join(
                f"\n{self._names[where]}: {reason}"
                for where, reason in self._refused.items()
            )
            raise MissingRequirement(
                "no host takes part: start them with `invoke worker --scheduler "
                f"ADDRESS` (docs/cluster.md){said}"
            )

    def facts(self) -> dict[str, Any]:
        """Return name -> machine of the hosts that take part, for the manifest."""
        machines = {
            self._names[where]: {**report.facts["host"], "git": report.facts["git"]}
            for where, report in self._reports.items()
        }
        return machines


def _most_common(reports: Sequence[HostReport]) -> Mapping[str, Any]:
    """Return the facts that most of `reports` are like.

    Of several the first by name.
    """
    ordered = sorted(reports, key=lambda report: report.host)

    def alike(report: HostReport) -> int:
        return sum(not any(unlike(report.facts, other.facts)) for other in ordered)

    return max(ordered, key=alike).facts
