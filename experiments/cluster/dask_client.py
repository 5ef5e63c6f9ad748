# SPDX-License-Identifier: GPL-2.0-only
"""The Dask cluster as a coordinator sees it: which hosts there are, blocks to them.

Addresses, TLS and time-outs are Dask's own settings, by its own configuration.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, Security
from distributed import wait as wait_for

from experiments.cluster import worker
from experiments.cluster.bundle import Bundle
from experiments.cluster.host import Failure, HostReport
from experiments.cluster.membership import HostsDied, SchedulerGone
from experiments.cluster.session import BlockRequest
from experiments.cluster.worker import SLOT
from experiments.errors import ConfigError

_CONNECT_S = 15.0


def address(on: str) -> str:
    """Return the scheduler's address; ConfigError if Dask's configuration lacks it."""
    if on.startswith("tls:") and not _has_certificates():
        raise ConfigError(
            f"{on}: Dask's configuration has no certificates (docs/cluster.md)"
        )
    if on != "dask":
        return on
    if known := dask.config.get("scheduler-address", None):
        return str(known)
    raise ConfigError(
        "Dask's configuration names no scheduler: set DASK_SCHEDULER_ADDRESS, or give "
        "the address itself, as tcp://10.0.0.1:8786"
    )


def _has_certificates() -> bool:
    return Security().get_connection_args("client").get("ssl_context") is not None


@contextlib.contextmanager
def connected(where: str) -> Iterator[DaskCluster]:
    """Raises MissingRequirement when no scheduler answers."""
    try:
        client = Client(where, timeout=_CONNECT_S, set_as_default=False)
    except worker.UNREACHABLE as error:
        raise worker.no_scheduler(where, error) from None
    with client:
        yield DaskCluster(client, where)


class DaskCluster:
    """The `membership.Cluster` of a client that is connected."""

    def __init__(self, client: Client, where: str) -> None:
        self._client = client
        self._where = where

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, CancelledError) as error:
            raise SchedulerGone(
                f"the scheduler {self._where} has gone ({error}): finished runs are "
                "kept; start it and the hosts again, and the same command goes on"
            ) from None

    def hosts(self) -> dict[str, str]:
        with self._reachable():
            found = self._client.scheduler_info(n_workers=-1)["workers"]
        return {
            where: str(said["name"])
            for where, said in found.items()
            if said.get("resources", {}).get(SLOT)
        }

    def ask(
        self, key: str, host: str, config: Mapping[str, Any], source: str, revision: str
    ) -> Future[HostReport]:
        ours = self._ours(key, (host,))
        return self._client.submit(worker.describe, config, source, revision, **ours)

    def submit(
        self, key: str, hosts: Sequence[str], request: BlockRequest
    ) -> Future[Bundle | Failure]:
        return self._client.submit(worker.run_block, request, **self._ours(key, hosts))

    @staticmethod
    def _ours(key: str, hosts: Sequence[str]) -> dict[str, Any]:
        where = {"workers": list(hosts), "allow_other_workers": False}
        return {"key": key, "pure": False, "resources": {SLOT: 1}, **where}

    def wait(self, tasks: Collection[Any], timeout_s: float) -> list[Any]:
        if timeout_s and not tasks:
            time.sleep(timeout_s)
        elif timeout_s and not any(task.done() for task in tasks):
            with (
                self._reachable(),
                self._client.as_current(),
                contextlib.suppress(TimeoutError),
            ):
                wait_for(list(tasks), timeout_s, return_when="FIRST_COMPLETED")
        return [task for task in tasks if task.done()]

    def result(self, task: Any) -> HostReport | Bundle | Failure:
        with self._reachable():
            try:
                result: HostReport | Bundle | Failure = task.result()
            except KilledWorker as error:
                raise HostsDied(str(error)) from None
        return result

    def cancel(self, tasks: Collection[Any]) -> None:
        if tasks:
            with self._reachable():
                self._client.cancel(list(tasks), force=True)

    def listen(self, token: str, hear: Callable[[Mapping[str, Any]], None]) -> None:
        self._client.subscribe_topic(worker.topic(token), lambda event: hear(event[1]))

    def stop(self, token: str, hosts: Collection[str]) -> None:
        there = [host for host in self.hosts() if host in set(hosts)]
        if there:
            with self._reachable():
                self._client.run(worker.stop, token, workers=there, on_error="ignore")
