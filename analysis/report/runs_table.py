# SPDX-License-Identifier: GPL-2.0-only
"""Every run in one row, with the intervals within it, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.load.frames import Data
from analysis.load.measures import KEYS, number

#: Label and unit of each column of a row's cells.
HEADING = (
    ("growth per exited task", "entries/exit, 95 % interval"),
    ("growth", "entries/s, 95 % interval"),
    ("slope of last half", "entries/s, 90 % interval"),
    ("maximum", "entries"),
    ("final", "entries"),
    ("memory with map", "Pearson r"),
    ("p99 wait for a CPU", "us"),
)

_SLOPES = (
    ("growth_entries_per_exit", "growth_per_exit_low", "growth_per_exit_high"),
    ("growth_entries_per_s", "growth_low", "growth_high"),
    ("tail_entries_per_s", "tail_low", "tail_high"),
)
_NUMBERS = ("entries_max", "entries_final", "memory_map_r")
_P99 = "run_queue_latency_p99"


@dataclass(frozen=True)
class RunRow:
    """A used run; each of its cells is a value and its interval, empty without one."""

    label: str
    block: int
    cells: list[tuple[str, str]]


def rows(data: Data, runs: pd.DataFrame) -> Iterator[RunRow]:
    """Yield the runs in the plan's order; `runs` is per_run()."""
    p99 = data.metrics[data.metrics["name"] == _P99].set_index(KEYS)["value"].to_dict()
    for run in runs.to_dict("records"):
        numbers = [*(run[k] for k in _NUMBERS), p99.get(tuple(run[k] for k in KEYS))]
        yield RunRow(
            label="{scheduler}/{variant}/{workload}_run{run}".format_map(run),
            block=int(run["block"]),
            cells=[_slope(run, *names) for names in _SLOPES]
            + [(number(n), "") for n in numbers],
        )


def _slope(run: Mapping[Any, Any], name: str, low: str, high: str) -> tuple[str, str]:
    if pd.isna(run[name]):
        return number(None), ""
    per_fork = name == "growth_entries_per_exit" and pd.isna(run["exits"])
    value = number(run[name]) + (" per fork" if per_fork else "")
    return value, f"{number(run[low])} to {number(run[high])}"
