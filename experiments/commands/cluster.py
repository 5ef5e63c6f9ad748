# SPDX-License-Identifier: GPL-2.0-only
"""The commands that need a cluster. Dask is an extra, and takes a second to import."""

from __future__ import annotations

import contextlib
import ipaddress
import platform
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from experiments.errors import ConfigError, MissingRequirement
from experiments.plan.config import Config
from experiments.run.block_queue import IsDecided
from experiments.run.runner import run_experiment
from experiments.store.experiment import Experiment

_EXTRA = ("dask", "distributed")


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise MissingRequirement(
            f"a cluster needs {error.name}: pip install -e '.[cluster]'"
        ) from None


def _is_safe(address: str) -> bool:
    """Return whether an address is encrypted, or does not leave this machine."""
    found = urlsplit(address)
    if found.scheme in ("tls", "inproc"):
        return True
    host = found.hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def run(config: Config, name: str | None, is_decided: IsDecided) -> Experiment:
    """Run an experiment on the cluster that `config` names; as `run_experiment`."""
    with _extra():
        from experiments.cluster import dask_client
        from experiments.cluster.coordinator import ClusterHosts
    with dask_client.connected(dask_client.address(config.where)) as found:
        place = ClusterHosts(found, config)
        return run_experiment(config, name, is_decided=is_decided, place=place)


def worker(
    scheduler: str | None, name: str | None, directory: str | None, insecure: bool
) -> None:
    """Serve as a host until told to end.

    Raises ConfigError for an address that anybody on the way may answer at.
    """
    with _extra():
        from experiments.cluster import dask_client
        from experiments.cluster.worker import serve
    where = dask_client.address(scheduler or "dask")
    if not insecure and not _is_safe(where):
        raise ConfigError(
            f"{where}: whoever answers there, or listens on the way, runs code here as "
            "you. Take tls:// (docs/cluster.md), or say --insecure"
        )
    folder = Path(directory).absolute() if directory else None
    serve(where, name or platform.node(), folder)
