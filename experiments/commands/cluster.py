# SPDX-License-Identifier: GPL-2.0-only
"""The commands that need a cluster. Dask is an extra, and takes a second to import."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

from experiments.errors import MissingRequirement
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


def run(config: Config, name: str | None, is_decided: IsDecided) -> Experiment:
    """Run an experiment on the cluster that `config` names; as `run_experiment`."""
    with _extra():
        from experiments.cluster import dask_client
        from experiments.cluster.coordinator import ClusterHosts
    with dask_client.connected(dask_client.address(config.where)) as found:
        place = ClusterHosts(found, config)
        return run_experiment(config, name, is_decided=is_decided, place=place)


def worker(scheduler: str | None, name: str | None, directory: str | None) -> None:
    """Serve as a host until told to end."""
    with _extra():
        from experiments.cluster import dask_client
        from experiments.cluster.worker import serve
    where = dask_client.address(scheduler or "dask")
    folder = Path(directory).absolute() if directory else None
    serve(where, name or platform.node(), folder)
