# SPDX-License-Identifier: GPL-2.0-only
"""Directories for a while, which say themselves whether anybody still uses them.

A file in each is locked as long as its maker lives. After SIGKILL of that one the
directory stays, and the kernel has dropped the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock"
#: For a prefix, such as scxlab-probe-; tempfile adds eight characters to it.
PURPOSES = ("bench", "doctor", "probe")


@contextlib.contextmanager
def directory(purpose: str) -> Iterator[Path]:
    """A new directory, one of PURPOSES; it is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix=f"scxlab-{purpose}-") as name:
        path = Path(name)
        with (path / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield path


@contextlib.contextmanager
def unused(lock: Path) -> Iterator[bool]:
    """Whether nobody holds this lock exclusively; nobody can while the block runs.

    A lock file that is not there was never taken. One that may not be opened is taken
    for held.
    """
    try:
        fd = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    except PermissionError:
        yield False
        return
    try:
        yield _shared(fd)
    finally:
        os.close(fd)


def _shared(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
