# SPDX-License-Identifier: GPL-2.0-only
"""Compile-time settings of the schedulers: `period_ms` here is -DPERIOD_MS there.

Defaults and bounds are repeated by the C sources, which check them again; a test holds
the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import paths
from experiments.errors import ConfigError, unknown_name
from experiments.model import NO_CLEANUP, SETTING, Parameter, Params, Scalar

KNOBS: Mapping[str, Parameter] = {
    "max_entries": Parameter(65536, 64, 1 << 22, "entries of the task map at the most"),
    "prealloc": Parameter(False, 0, 1, "allocate all map elements at load"),
    "lru_entries": Parameter(1024, 64, 1 << 22, "entries of the map with lru"),
    "period_ms": Parameter(100, 1, 60_000, "pause between two scans"),
    "budget_us": Parameter(500, 1, 100_000, "time one scan may take"),
    "max_age_ms": Parameter(2000, 1, 600_000, "age from which an entry is stale"),
    "timeout_ms": Parameter(5000, 1, 30_000, "longest wait before it is thrown out"),
    "fifo": Parameter(False, 0, 1, "scx_simple: first in first out, not by vruntime"),
}


#: What --set takes instead of numbers.
_WORDS = {"true": 1, "false": 0}


class Cleanup(NamedTuple):
    """A strategy, as the comment at the head of its file says."""

    summary: str
    reads: tuple[str, ...]  # the settings that it alone reads, not control
    needs_census: bool  # it evicts without counting whom


#: The order in which `all` stands for them, and so that of the runs of a plan: those
#: that are added follow by their names.
_FIRST = ("scan", "kfunc", "timer", "exit", "lru", "storage")
_END = ".bpf.h"


def strategies(folder: Path) -> dict[str, Cleanup]:
    """Return the strategies that have a file in `folder`, by the names of the files."""
    found = {path.name.removesuffix(_END): path for path in folder.glob(f"*{_END}")}
    found.pop(NO_CLEANUP, None)
    ordered = [*(n for n in _FIRST if n in found), *sorted(found.keys() - {*_FIRST})]
    return {name: _strategy(name, found[name].read_text()) for name in ordered}


def _strategy(name: str, text: str) -> Cleanup:
    def line(begins: str) -> str:
        found = re.search(rf"^ \* {re.escape(begins)}: (.+)$", text, re.MULTILINE)
        return found[1] if found else ""

    reads = tuple(filter(None, line("Reads").split(", ")))
    return Cleanup(line(name), reads, line("Needs") == "census")


CLEANUPS: Mapping[str, Cleanup] = strategies(paths.SCHEDULERS / "include/strategies")
#: Settings that some strategy reads. Only those can be swept.
OF_CLEANUP = tuple(dict.fromkeys(name for c in CLEANUPS.values() for name in c.reads))


def checked(
    what: str, given: Params, parameters: Mapping[str, Parameter]
) -> dict[str, Scalar]:
    """Return `given` over the defaults.

    ConfigError for what is unknown or out of bounds.
    """
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
    """Return the compiler's -D options for a strategy and its settings."""
    options = [
        f"-D{name.upper()}={int(value)}"
        for name, value in knobs.items()
        if not name.startswith(SETTING)
    ]
    if cleanup != NO_CLEANUP:
        options.append(f"-DCLEANUP={cleanup}")
    return options


def setting_knobs(settings: Mapping[str, int]) -> dict[str, Scalar]:
    """Return what a variant's knobs have for numbers to set in read-only data."""
    return {f"{SETTING}{name}": value for name, value in settings.items()}


def parse_settings(texts: Sequence[str]) -> dict[str, int] | None:
    """Return `slice_ns=0x1000 fifo=true` as a mapping; None when there is none."""
    settings = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            settings[name] = _WORDS[value] if value in _WORDS else int(value, 0)
        except ValueError:
            raise ConfigError(
                f"--set {text}: give a name and a whole number, true or false, as in "
                "slice_ns=5000000"
            ) from None
    return settings or None
