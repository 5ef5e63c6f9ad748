# SPDX-License-Identifier: GPL-2.0-only
"""What can be measured of the project itself: `invoke bench`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from experiments.bench import aggregate, faults, harness, sampling, walls
from experiments.errors import unknown_name
from experiments.support.console import Rows, show_rows
from experiments.support.files import atomic_write


def _verdicts() -> Rows:
    from analysis.validation import error_rates

    return error_rates.rows()


def _wrong_verdicts(rows: Rows) -> Rows:
    from analysis.validation import error_rates

    return error_rates.exceeding(rows)


#: name -> (what measures, what is shown of its rows besides)
_BENCHES: dict[str, tuple[Callable[[], Rows], Callable[[Rows], Rows]]] = {
    "aggregate": (aggregate.measure, aggregate.ratios),
    "faults": (faults.measure, lambda rows: []),
    "harness": (harness.measure, lambda rows: []),
    "sampling": (sampling.measure, sampling.ratios),
    "walls": (walls.measure, lambda rows: []),
    "verdicts": (_verdicts, _wrong_verdicts),
}


def bench(name: str, json_file: str | None) -> None:
    """Measure, show, and write the rows to `json_file` if there is one."""
    if name not in _BENCHES:
        raise unknown_name("bench", name, _BENCHES)
    measure, closing = _BENCHES[name]
    rows = measure()
    show_rows(rows)
    show_rows(closing(rows))
    if json_file:
        atomic_write(Path(json_file), json.dumps(rows, indent=1))
