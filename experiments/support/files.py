# SPDX-License-Identifier: GPL-2.0-only
"""Files that are there whole or not at all, also after a crash of the machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20


def atomic_write(
    path: Path, data: bytes | str, between: Callable[[], None] = lambda: None
) -> None:
    """Write `data` so that `path` holds either all of it or what was there before.

    `between` is called when the data is on the disk and not yet at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    between()
    beside.replace(path)
    sync_directory(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename `source`, written by whomever, so that a crash leaves it whole."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory last from here on."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def let_read(folder: Path) -> None:
    """Let everybody read all that is in `folder`, whatever the umask is."""
    for place, _, names in os.walk(folder):
        Path(place).chmod(0o755)
        for path in (Path(place, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


@dataclass(frozen=True)
class Fingerprint:
    """What a file was when it was finished; ``rows`` are those below a CSV's header."""

    bytes: int
    sha256: str
    rows: int | None = None


def fingerprint(path: Path) -> Fingerprint:
    hashed, size, lines = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    rows = max(lines - 1, 0) if path.suffix == ".csv" else None
    return Fingerprint(size, hashed.hexdigest(), rows)
