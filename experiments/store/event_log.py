# SPDX-License-Identifier: GPL-2.0-only
"""What happens to an experiment, a line of JSON each, as it happens: events.jsonl.

It is for watching: `results/` is complete without it. Each line has `time` (UTC, ISO
8601) and `event`; docs/result-format.md lists them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "events.jsonl"

Event = Mapping[str, Any]


class EventLog:
    """Appends to the events of the experiment in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def add(self, event: str, **said: Any) -> None:
        """Append a line by one write, so that those of several threads do not mix."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **said}) + "\n"
        with self._path.open("a+b", buffering=0) as file:
            if _is_torn(file):
                line = "\n" + line
            file.write(line.encode())


def _is_torn(file: Any) -> bool:
    """Return whether the last line has no end, as a full disk leaves it."""
    if file.seek(0, 2) == 0:
        return False
    file.seek(-1, 2)
    return bool(file.read(1) != b"\n")


def read(folder: Path) -> Iterator[Event]:
    """Yield the events so far, the oldest first.

    A line that is cut short is left out.
    """
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
