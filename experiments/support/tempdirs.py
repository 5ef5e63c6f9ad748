# SPDX-License-Identifier: GPL-2.0-only
"""Directories for a while, which say themselves whether anybody still uses them.

A file in each is locked as long as its maker lives. After SIGKILL of that one the
directory stays, and the kernel has dropped the lock.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.support.locks import LOCK, locked

#: For a prefix, such as scxlab-probe-; tempfile adds eight characters to it.
PURPOSES = ("bench", "build", "doctor", "probe")


@contextlib.contextmanager
def directory(purpose: str) -> Iterator[Path]:
    """A new directory, one of PURPOSES; it is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix=f"scxlab-{purpose}-") as name:
        path = Path(name)
        with locked(path / LOCK, purpose):
            yield path
