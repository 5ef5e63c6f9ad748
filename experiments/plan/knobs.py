# SPDX-License-Identifier: GPL-2.0-only
"""Compile-time settings of the schedulers: `period_ms` here is -DPERIOD_MS there.

Defaults and bounds are repeated by the C sources, which check them again; a test holds
the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from experiments.errors import ConfigError, unknown_name
from experiments.model import NO_CLEANUP, Parameter, Params, Scalar

KNOBS: Mapping[str, Parameter] = {
    "max_entries": Parameter(65536, 64, 1 << 22, "entries of the task map at the most"),
    "prealloc": Parameter(False, 0, 1, "allocate all map elements at load"),
    "lru_entries": Parameter(1024, 64, 1 << 22, "entries of the map with lru"),
    "period_ms": Parameter(100, 1, 60_000, "pause between two scans"),
    "budget_us": Parameter(500, 1, 100_000, "time one scan may take"),
    "max_age_ms": Parameter(2000, 1, 600_000, "age from which an entry is stale"),
    "fifo": Parameter(False, 0, 1, "scx_simple: first in first out, not by vruntime"),
}


_OF_SCANS = ("period_ms", "budget_us", "max_age_ms")
#: strategy -> the settings that it alone reads, not control. Only those can be swept.
READ_BY: Mapping[str, tuple[str, ...]] = {
    "scan": _OF_SCANS,
    "kfunc": _OF_SCANS,
    "timer": _OF_SCANS,
    "exit": (),
    "lru": ("lru_entries",),
    "storage": (),
}
OF_CLEANUP = tuple(dict.fromkeys(name for of in READ_BY.values() for name in of))


class Cleanup(NamedTuple):
    """A strategy of schedulers/include/cleanup.bpf.h."""

    macro: str
    summary: str


CLEANUPS: Mapping[str, Cleanup] = {
    "scan": Cleanup(
        "CLEANUP_SCAN", "budgeted scan from ops.dispatch that goes on where it stopped"
    ),
    "kfunc": Cleanup(
        "CLEANUP_KFUNC", "scx_bpf_map_scan_timeout() from ops.dispatch, by our module"
    ),
    "timer": Cleanup("CLEANUP_TIMER", "the scan from a bpf_timer, off the hot path"),
    "exit": Cleanup("CLEANUP_EXIT", "ops.exit_task deletes the entry: exact"),
    "lru": Cleanup("CLEANUP_LRU", "BPF_MAP_TYPE_LRU_HASH: the kernel evicts"),
    "storage": Cleanup(
        "CLEANUP_STORAGE", "BPF_MAP_TYPE_TASK_STORAGE: the entry dies with its task"
    ),
}


def checked(
    what: str, given: Params, parameters: Mapping[str, Parameter]
) -> dict[str, Scalar]:
    """`given` over the defaults; ConfigError for what is unknown or out of bounds."""
    for name in given:
        if name not in parameters:
            raise unknown_name(f"setting of {what}", name, parameters)
    merged = {name: p.default for name, p in parameters.items()} | dict(given)
    for name, value in merged.items():
        _check_value(f"{what}: {name}", value, parameters[name])
    return merged


def _check_value(where: str, value: Scalar, parameter: Parameter) -> None:
    kind = type(parameter.default)
    if type(value) is not kind:
        raise ConfigError(f"{where} is {value!r}: give a value of type {kind.__name__}")
    if not isinstance(value, str) and not parameter.low <= value <= parameter.high:
        raise ConfigError(
            f"{where} is {value}: give {parameter.low:g} to {parameter.high:g} "
            f"({parameter.summary})"
        )


def defines(cleanup: str, knobs: Params) -> list[str]:
    """The compiler's -D options for a strategy and its settings."""
    options = [f"-D{name.upper()}={int(value)}" for name, value in knobs.items()]
    if cleanup != NO_CLEANUP:
        options.append(f"-DCLEANUP={CLEANUPS[cleanup].macro}")
    return options
