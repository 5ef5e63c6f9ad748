# SPDX-License-Identifier: GPL-2.0-only
"""`invoke worker`: this machine as a host of a Dask cluster, and what it can be asked.

One process, one slot, one thread that executes: a guest gets SIGKILL when the thread
that started it dies, and that thread lives as long as the process.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from distributed import Worker, WorkerPlugin, get_worker

from experiments import paths
from experiments.cluster.bundle import Bundle
from experiments.cluster.host import Failure, Host, HostReport
from experiments.cluster.session import BlockRequest
from experiments.errors import ConfigError, ExperimentError, MissingRequirement
from experiments.labroot import lab_root
from experiments.support.console import say
from experiments.support.locks import Held, locked

#: Of a host there is one; a block takes it all.
SLOT = "scxlab"
_CONNECT_S = 15.0
#: What Dask raises where nobody answers, and where another host has our name.
UNREACHABLE = (OSError, TimeoutError, ValueError, RuntimeError)


class _Plugin(WorkerPlugin):
    """The host in its worker."""

    name = SLOT

    def __init__(self, host: Host) -> None:
        self.host = host


def topic(token: str) -> str:
    """Return where the hosts tell what they do for the runner `token`."""
    return f"{SLOT}-{token}"


# --- what a coordinator submits -------------------------------------------------------


def _host(worker: Worker) -> Host:
    return cast(_Plugin, worker.plugins[SLOT]).host


def describe(config: Mapping[str, Any], source: str, revision: str) -> HostReport:
    return _host(get_worker()).describe(config, source, revision)


def run_block(request: BlockRequest) -> Bundle | Failure:
    worker = get_worker()

    def tell(said: Mapping[str, Any]) -> None:
        worker.log_event(topic(request.token), dict(said))

    return _host(worker).run_block(request, tell)


async def stop(token: str, dask_worker: Worker) -> None:
    """Stop work for `token`, outside of the thread of tasks, which may be busy."""
    await asyncio.to_thread(_host(dask_worker).stop, token)


# --- being one ------------------------------------------------------------------------


def serve(scheduler: str, name: str, folder: Path | None) -> None:
    """Serve as the host `name` until SIGINT, SIGTERM, or the scheduler's end.

    Raises MissingRequirement when there is no scheduler or lab root, ConfigError
    when this machine is a host already.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"--name {name}: give letters, digits, and ._-")
    lab_root.open_root()
    logging.getLogger("distributed").setLevel(logging.WARNING)
    place = folder or paths.cache_dir() / "worker"
    try:
        with locked(paths.cache_dir() / "worker.lock"):
            asyncio.run(_serve(scheduler, Host(name, place / "blocks"), name, place))
    except Held as held:
        raise ConfigError(
            f"this machine is a host already, by {held}: one slot is all it has"
        ) from None


async def _serve(scheduler: str, host: Host, name: str, place: Path) -> None:
    asked = _asked_to_end()
    with ThreadPoolExecutor(1, thread_name_prefix="blocks") as executor:
        try:
            worker = await _joined(scheduler, host, name, place, executor)
            say(f"{name}: a host of {scheduler}, at {worker.address}")
            gone = asyncio.ensure_future(worker.finished())
            await asyncio.wait({gone, asked}, return_when=asyncio.FIRST_COMPLETED)
            # First the scheduler hears of it, so that it deals our block to another
            await worker.close(executor_wait=False, reason=f"{name} was asked to end")
        finally:
            await asyncio.to_thread(host.close)
    if not asked.done():
        raise ExperimentError(f"the scheduler {scheduler} has gone, or closed us")
    say(f"{name}: ended")


def _asked_to_end() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[None] = loop.create_future()

    def ask() -> None:
        if not asked.done():
            asked.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    return asked


async def _joined(
    scheduler: str, host: Host, name: str, place: Path, executor: ThreadPoolExecutor
) -> Worker:
    worker = Worker(
        scheduler,
        name=name,
        nthreads=1,
        executor=executor,
        resources={SLOT: 1},
        memory_limit=0,  # ours is small, and that of guests is none of its business
        local_directory=str(place / "dask"),
        plugins=(_Plugin(host),),
        death_timeout=_CONNECT_S,
    )
    try:
        await worker
    except UNREACHABLE as error:
        raise no_scheduler(scheduler, error) from error
    return worker


def no_scheduler(address: str, error: Exception) -> MissingRequirement:
    return MissingRequirement(
        f"no Dask scheduler takes us at {address} ({error}): start one with `dask "
        "scheduler` in an environment like this one (docs/cluster.md); names of hosts "
        "are unique"
    )
