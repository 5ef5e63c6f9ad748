# SPDX-License-Identifier: GPL-2.0-only
"""From a name to the module that bears it: one file each to add a new one.

`custom-churn` is the module custom_churn; modules that begin with an underscore are
nobody's.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import cast

from experiments.columns import Column
from experiments.errors import unknown_name
from experiments.plugins import Backend, Loader, Sampler, Workload

#: kind -> (package, the attribute that each of its modules exposes)
_KINDS = {
    "workload": ("workloads", "WORKLOAD"),
    "sampler": ("experiments.samplers", "SAMPLER"),
    "loader": ("experiments.loaders", "LOADER"),
    "backend": ("experiments.backends", "BACKEND"),
}


@functools.cache
def names(kind: str) -> tuple[str, ...]:
    """Return the names there are of a kind, sorted.

    Asked for with every run of a plan, several times; nobody adds modules meanwhile.
    """
    package = importlib.import_module(_KINDS[kind][0])
    found = (m.name for m in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(n.replace("_", "-") for n in found if not n.startswith("_")))


def _get(kind: str, name: str) -> object:
    if name not in names(kind):
        raise unknown_name(kind, name, names(kind))
    package, attribute = _KINDS[kind]
    module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
    return getattr(module, attribute)


def workload(name: str) -> Workload:
    """Return the workload of that name.

    Raises ConfigError naming the nearest one when there is none.
    """
    return cast(Workload, _get("workload", name))


def sampler(name: str) -> type[Sampler]:
    return cast(type[Sampler], _get("sampler", name))


def columns() -> tuple[Column, ...]:
    """Return what all samplers declare, in the order of their names."""
    kinds = [sampler(name) for name in names("sampler")]
    return tuple(column for kind in kinds for column in kind.columns)


def loader(name: str) -> Loader:
    return cast(Loader, _get("loader", name))


def backend(name: str) -> type[Backend]:
    return cast(type[Backend], _get("backend", name))
