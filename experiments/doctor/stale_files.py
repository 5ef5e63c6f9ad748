# SPDX-License-Identifier: GPL-2.0-only
"""What a killed invoke has left on disk: found, and removed when nobody uses it.

Nobody uses it when the lock that its owner holds while it lives can be had; the kernel
drops the lock of a process that died. The attempts of an experiment are data and stay.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from experiments import paths
from experiments.errors import ExperimentError
from experiments.machine.stale_state import Leftover
from experiments.support import locks, tempdirs

#: What an atomic write leaves when it is cut off (files.atomic_write). One that goes
#: on takes milliseconds.
_HALF_WRITTEN = re.compile(r"\..+\.tmp")
_WRITING_S = 60.0
#: A directory of ours without a lock is of an older version, or its maker died before
#: it took the lock. Nothing that we do in one takes a day.
_NO_LOCK_S = 86_400.0
_SCRATCH = re.compile(rf"scxlab-(?:{'|'.join(tempdirs.PURPOSES)})-[a-z0-9_]{{8}}")
#: Of an experiment, while it runs: logs and sockets, and what the guest sees.
#: What runs need while they run, among it names of an older version.
_OF_RUNS = (".vm", ".host", ".stage", ".stage.tmp", "attempts/.stage")


class InUse(ExperimentError):
    """Somebody has begun to use it since it was found."""


def clean(leftovers: Iterable[Leftover]) -> Iterator[str]:
    """Remove them one by one; a line for each that says what became of it."""
    for leftover in leftovers:
        try:
            leftover.remove()
        except (OSError, psutil.Error, ExperimentError) as error:
            yield f"NOT removed: {leftover.what}: {error}"
        else:
            yield f"removed: {leftover.what}"


def files() -> list[Leftover]:
    """Return everything on disk, of this checkout and in this user's cache."""
    return [
        *of_experiments(paths.RESULTS),
        *of_scratch(Path(tempfile.gettempdir())),
        *half_made_roots(paths.cache_dir()),
        *_writes(_flat(paths.RESULTS), None),
        *_writes(_flat(paths.cache_dir()), None),
        *_writes(_deep(paths.cache_dir() / "kernels"), None),
        *_writes(_deep(paths.BUILD), None),
    ]


# --- experiments ----------------------------------------------------------------------


def of_experiments(results: Path) -> Iterator[Leftover]:
    """Run directories, stages and cut-off writes of experiments that nobody runs."""
    for experiment in sorted(results.glob("*/")):
        lock = experiment / locks.LOCK
        places = [experiment / name for name in _OF_RUNS]
        there = [p for p in places if p.is_dir() and not p.is_symlink()]
        left = [_directory(p, lock) for p in there]
        left += _writes(_deep(experiment, {*map(str, there)}), lock)
        if left and _is_unused(lock):
            yield from left


def _is_unused(lock: Path) -> bool:
    with locks.unused(lock) as is_unused:
        return is_unused


def _directory(path: Path, lock: Path | None) -> Leftover:
    return Leftover(f"{path}/", functools.partial(_remove, path, lock))


def _remove(path: Path, lock: Path | None) -> None:
    """Remove it; raise InUse when the lock is held. None is nobody's lock."""
    if lock is None:
        _delete(path)
        return
    with locks.unused(lock) as is_unused:
        if not is_unused:
            raise InUse("somebody uses it now")
        _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _flat(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.glob(".*.tmp")) if p.is_file())


def _deep(folder: Path, beside: Iterable[str] = ()) -> Iterator[Path]:
    """Yield files below `folder` but not in the directories `beside`."""
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f"{top}/{f}" not in beside)
        yield from (Path(top, name) for name in sorted(names))


def _writes(paths: Iterable[Path], lock: Path | None) -> list[Leftover]:
    now = time.time()
    return [
        Leftover(str(path), functools.partial(_remove, path, lock))
        for path in paths
        if _HALF_WRITTEN.fullmatch(path.name) and _age_s(path, now) > _WRITING_S
    ]


def _age_s(path: Path, now: float) -> float:
    """Return the time since its last change; 0 when it is gone meanwhile."""
    try:
        return now - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


# --- directories for a while, lab roots ----------------------------------------------


def of_scratch(folder: Path) -> Iterator[Leftover]:
    """Yield directories of tempdirs.directory() whose maker, this user, is gone."""
    now = time.time()
    for path in sorted(folder.glob("scxlab-*")):
        if not _SCRATCH.fullmatch(path.name) or path.is_symlink():
            continue
        lock = path / locks.LOCK
        if path.lstat().st_uid != os.geteuid():
            continue
        if not lock.exists() and _age_s(path, now) < _NO_LOCK_S:
            continue
        if _is_unused(lock):
            yield _directory(path, lock)


def half_made_roots(cache: Path) -> Sequence[Leftover]:
    """Return what `invoke setup` was making, or replacing, when it was killed."""
    lock = cache / locks.LOCK
    stale = sorted(cache.glob(".labroot-*/"))
    if stale and _is_unused(lock):
        return [_directory(path, lock) for path in stale]
    return []
