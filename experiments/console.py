# SPDX-License-Identifier: GPL-2.0-only
"""What the user sees while something runs.

On a terminal the line at the bottom moves; in a log every step is a line with its time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console

#: A step of something that takes long; shown as it comes.
Report = Callable[[str], None]

console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line that stays; square brackets in it are text."""
    console.print(text, markup=False)


@contextlib.contextmanager
def steps(title: str) -> Iterator[Report]:
    """Show `title` and the newest step until the block ends, then how long it took."""
    began = time.monotonic()

    def elapsed() -> str:
        return f"{time.monotonic() - began:.0f} s"

    with console.status(title) as status:

        def report(step: str) -> None:
            if console.is_terminal:
                status.update(f"{title} ({elapsed()}): {step[:100]}")
            else:
                say(f"  {elapsed():>5}  {step}")

        say(f"{title} ...")
        yield report
    say(f"{title}: done in {elapsed()}")
