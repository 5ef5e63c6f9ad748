# SPDX-License-Identifier: GPL-2.0-only
"""What can be measured of the project itself: `invoke bench`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from analysis import error_rates
from experiments import aggregate_bench, harness_bench, sampling_bench
from experiments.console import console
from experiments.errors import unknown_name
from experiments.results import atomic_write

_Rows = list[dict[str, Any]]
#: name -> (what measures, what is shown of its rows besides)
_BENCHES: dict[str, tuple[Callable[[], _Rows], Callable[[_Rows], _Rows]]] = {
    "aggregate": (aggregate_bench.measure, aggregate_bench.ratios),
    "harness": (harness_bench.measure, lambda rows: []),
    "sampling": (sampling_bench.measure, sampling_bench.ratios),
    "verdicts": (error_rates.rows, error_rates.exceeding),
}


def bench(name: str, json_file: str | None) -> None:
    """Measure, show, and write the rows to `json_file` if there is one."""
    if name not in _BENCHES:
        raise unknown_name("bench", name, _BENCHES)
    measure, closing = _BENCHES[name]
    rows = measure()
    _show_rows(rows)
    _show_rows(closing(rows))
    if json_file:
        atomic_write(Path(json_file), json.dumps(rows, indent=1))


def _show_rows(rows: _Rows) -> None:
    """A table for each stretch of rows that have the same columns."""
    for columns, alike in itertools.groupby(rows, key=tuple):
        table = Table(*columns, box=None, pad_edge=False)
        for row in alike:
            table.add_row(*("-" if v is None else str(v) for v in row.values()))
        console.print(table)
        console.print()
