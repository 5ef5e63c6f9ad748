# SPDX-License-Identifier: GPL-2.0-only
"""Lock files: who holds one, since when, shared or alone; a holder's death frees it.

Own code on flock(2), as filelock has neither a shared mode nor an owner to name.

One runner at a time works on an experiment: another is refused. One experiment at a
time is measured with a cache directory: another waits, for two at once would measure
each other. A lab root in use is held shared, so that it is not replaced.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.support.timespan import duration

#: What a lock file is called in the directory that it is about.
LOCK = ".lock"
_POLL_S = 0.5
#: Whoever only looks whether a lock is free holds it for less than this.
_LOOK_S = 0.3


class Mode(enum.Enum):
    """Many may hold a lock SHARED, and then nobody EXCLUSIVE."""

    SHARED = fcntl.LOCK_SH
    EXCLUSIVE = fcntl.LOCK_EX


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
        return f"for {duration(max(0.0, time.time() - self.since))}"


class Held(Exception):
    """The lock is another's; `owner` is None when it does not say whose."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__(str(owner or "a process that has not said who it is"))
        self.owner = owner


class GaveUp(Exception):
    """Whoever waited for a lock does not want it any more."""


def hold(path: Path, mode: Mode) -> int:
    """Take the lock `path` without signing it; return its descriptor.

    It is held until the descriptor is closed, or we end. Raises Held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + _LOOK_S
    try:
        while not _take(handle, mode):
            if time.monotonic() > deadline:
                raise Held(_signed(path))
            time.sleep(_LOOK_S / 10)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def locked(path: Path, what: str = "") -> Iterator[None]:
    """Hold the lock `path` alone, signed; raises Held when another has it."""
    handle = hold(path, Mode.EXCLUSIVE)
    try:
        _sign(handle, what)
        yield
    finally:
        os.ftruncate(handle, 0)
        os.close(handle)


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


@contextlib.contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock `path` alone; nobody can while the block runs.

    A lock file that is not there was never taken. One that may not be opened is taken
    for held.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    except PermissionError:
        yield False
        return
    try:
        yield _take(handle, Mode.SHARED)
    finally:
        os.close(handle)


def owner(path: Path) -> Owner | None:
    """Return who holds the lock `path` alone; None when nobody does.

    What a holder that died has left in the file says nothing.
    """
    with unused(path) as is_unused:
        if is_unused:
            return None
    return _signed(path) or Owner(0, "", "unknown", path.stat().st_mtime)


def _take(handle: int, mode: Mode) -> bool:
    try:
        fcntl.flock(handle, mode.value | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(handle: int, what: str) -> None:
    command = " ".join(["invoke", *sys.argv[1:]])
    mine = Owner(os.getpid(), platform.node(), command, time.time(), what)
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(asdict(mine)).encode(), 0)


def _signed(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
