# SPDX-License-Identifier: GPL-2.0-only
"""What the user sees while something runs.

On a terminal the line at the bottom moves; in a log every step is a line with its time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.support.printable import printable

#: A step of something that takes long; shown as it comes.
ReportStep = Callable[[str], None]

#: What is measured, a line each: column -> value.
Rows = list[dict[str, Any]]

#: No table is wider; where the terminal is narrower, it is that which folds lines.
_WIDEST = 1000

#: Of tables where nobody has said how wide the place is: a file, a pipe, a CI's log.
_IN_LOGS = 120


def _width() -> int | None:
    """Return none leaves it to rich, which asks the terminal or COLUMNS."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return None if known else _IN_LOGS


console = Console(highlight=False, soft_wrap=True, width=_width())


def say(text: str) -> None:
    """Print a line that stays; whatever is in it is text, and no word to a terminal."""
    console.print(printable(text), markup=False)


@contextlib.contextmanager
def steps(title: str) -> Iterator[ReportStep]:
    """Show `title` and the newest step until the block ends, then how long it took."""
    began = time.monotonic()

    def elapsed() -> str:
        return f"{time.monotonic() - began:.0f} s"

    with console.status(title) as status:

        def report(step: str) -> None:
            if console.is_terminal:
                words = escape(printable(step[:100]))
                status.update(f"{title} ({elapsed()}): {words}")
            else:
                say(f"  {elapsed():>5}  {step}")

        say(f"{title} ...")
        yield report
    say(f"{title}: done in {elapsed()}")


def show_rows(rows: Rows) -> None:
    """Print a table for each stretch of rows with the same columns, never cut."""
    wide = Console(highlight=False, width=_WIDEST)
    for columns, alike in itertools.groupby(rows, key=tuple):
        table = Table(*columns, box=None, pad_edge=False)
        for row in alike:
            table.add_row(*map(_cell, row.values()))
        wide.print(table)
        wide.print()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value)
