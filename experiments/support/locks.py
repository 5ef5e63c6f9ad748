# SPDX-License-Identifier: GPL-2.0-only
"""Locks that say who holds them, since when, and that die with their holder.

One runner at a time works on an experiment: another is refused. One experiment at a
time is measured with a cache directory: another waits, for two at once would measure
each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

_POLL_S = 0.5
#: So long a lock whose owner is not known is asked for again: somebody looks at it.
_LOOK_S = 0.3


@dataclass(frozen=True)
class Owner:
    """Who took a lock, and when (s since the epoch)."""

    pid: int
    host: str
    command: str
    since: float
    what: str = ""

    def __str__(self) -> str:
        what = f" ({self.what})" if self.what else ""
        return f"process {self.pid} on {self.host}, {self.age()}: {self.command}{what}"

    def age(self) -> str:
        seconds = max(0.0, time.time() - self.since)
        for length_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
            if seconds >= length_s:
                return f"since {seconds / length_s:.0f} {unit}"
        return f"since {seconds:.0f} s"


class Held(Exception):
    """The lock is another's; `owner` is None when it does not say whose."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__(str(owner or "a process that has not said who it is"))
        self.owner = owner


@contextlib.contextmanager
def locked(path: Path, what: str = "") -> Iterator[None]:
    """Hold the lock `path`; raises Held when another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _take(file, path)
        _sign(file, what)
        try:
            yield
        finally:
            file.truncate(0)


def _take(file: IO[str], path: Path) -> None:
    deadline = time.monotonic() + _LOOK_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _owner(path)
            if holder is not None or time.monotonic() > deadline:
                raise Held(holder) from None
            time.sleep(_LOOK_S / 10)
        else:
            return


class GaveUp(Exception):
    """Whoever waited for a lock does not want it any more."""


@contextlib.contextmanager
def queued(
    path: Path,
    what: str,
    waiting: Callable[[str], None],
    gives_up: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Hold the lock `path` as soon as it is free; `waiting` is told, once an owner.

    Raises GaveUp when `gives_up` says so in the meantime.
    """
    told = ""
    while True:
        if gives_up():
            raise GaveUp
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(path, what))
            except Held as held:
                if (now := str(held)) != told and held.owner is not None:
                    waiting(told := now)
            else:
                yield
                return
        time.sleep(_POLL_S)


def owner(path: Path) -> Owner | None:
    """Who holds the lock `path` now; None when nobody does.

    What a holder that died has left in the file says nothing.
    """
    try:
        file = path.open("r")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _owner(path) or Owner(0, "", "unknown", path.stat().st_mtime)
    return None


def _sign(file: IO[str], what: str) -> None:
    command = " ".join(["invoke", *sys.argv[1:]])
    mine = Owner(os.getpid(), platform.node(), command, time.time(), what)
    file.truncate(0)
    file.write(json.dumps(asdict(mine)))
    file.flush()


def _owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
