# SPDX-License-Identifier: GPL-2.0-only
"""How many entries a hash map holds: four ways to find out, the cheapest first.

    iterator          every map says what it has counted of itself; O(CPUs), Linux 6.6
    element-iterator  a BPF program is shown every element; Linux 5.9
    lookup-batch      the elements are copied out, 64k at a time; Linux 5.6
    next-key          every key is asked for by the one before it; any kernel

The first two need bpftool, a bpffs and the objects of this directory as well. `choose`
tries them in turn, so that what is missing costs time and not the number. Only hash
maps can be counted: arrays are always full, and task storage keeps no count.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from experiments.kernel import bpf, procfs
from experiments.support.proc import CommandFailed, run

_MAPS_OBJECT = "mapcount.bpf.o"
_ELEMENTS_OBJECT = "elemcount.bpf.o"

_MAPS_PIN = "scxlab-mapcount"
_ELEMENTS_PIN = "scxlab-elemcount"
_PIN_TIMEOUT_S = 30.0
_COUNT = struct.Struct("=4Iq")  # struct map_count: id, type, max_entries, pad, entries
_PART = struct.Struct("=Q")
_READ_BYTES = 1 << 16


class EntryCounter(Protocol):
    """Counts the entries of one map, whose descriptor stays the caller's.

    Making one raises OSError or CommandFailed where this way is not open.
    """

    name: str

    def __init__(self, fd: int, info: bpf.MapInfo, bin_dir: Path) -> None: ...

    def count(self) -> int | None:
        """Return entries now, give or take those that come or go meanwhile.

        None: unknown.
        """

    def close(self) -> None: ...


# --- iterators ------------------------------------------------------------------------


def _pin(path: Path, *argv: str | Path) -> None:
    """Load an iterator.

    Where the directory of `path` is no bpffs, bpftool would mount one over it.
    """
    if procfs.mounted_at(path.parent) != "bpf":
        raise OSError(errno.ENODEV, f"no bpffs at {path.parent}")
    run(["bpftool", "iter", "pin", *argv], timeout_s=_PIN_TIMEOUT_S)


def _read(link: int) -> bytes:
    """Return all that an iterator writes.

    EAGAIN means that a million elements were passed without a word: there is more.
    """
    fd = bpf.open_iterator(link)
    chunks = []
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                chunks.append(os.read(fd, _READ_BYTES))
                if not chunks[-1]:
                    return b"".join(chunks)
    finally:
        os.close(fd)


class MapIterator:
    """Its program stays pinned for the next run: loading it is what costs.

    Its link is held, so nothing that happens to the bpffs later matters.
    """

    name = "iterator"

    def __init__(self, fd: int, info: bpf.MapInfo, bin_dir: Path) -> None:
        self._id = info.id
        pin = bpf.BPFFS / _MAPS_PIN
        if not pin.exists():
            _pin(pin, bin_dir / _MAPS_OBJECT, pin)
        self._link = bpf.open_pinned(pin)

    def counts(self) -> Mapping[int, int]:
        """Return entries by map id, of all maps in the kernel.

        0 for other maps than hashes.

        Maps that come or go meanwhile are in it or not.
        """
        records = _COUNT.iter_unpack(_read(self._link))
        return {record[0]: record[4] for record in records}

    def count(self) -> int | None:
        return self.counts().get(self._id)

    def close(self) -> None:
        os.close(self._link)


class ElementIterator:
    """Its link belongs to one map, and keeps that until it is closed."""

    name = "element-iterator"

    def __init__(self, fd: int, info: bpf.MapInfo, bin_dir: Path) -> None:
        pin = bpf.BPFFS / f"{_ELEMENTS_PIN}-{os.getpid()}"
        pin.unlink(missing_ok=True)  # of a process of this number that was killed
        try:
            _pin(pin, bin_dir / _ELEMENTS_OBJECT, pin, "map", "id", str(info.id))
            self._link = bpf.open_pinned(pin)
        finally:
            pin.unlink(missing_ok=True)

    def count(self) -> int | None:
        return sum(int(part) for (part,) in _PART.iter_unpack(_read(self._link)))

    def close(self) -> None:
        os.close(self._link)


# --- from outside ---------------------------------------------------------------------


class LookupBatch:
    name = "lookup-batch"

    def __init__(self, fd: int, info: bpf.MapInfo, bin_dir: Path) -> None:
        self._fd, self._info = fd, info

    def count(self) -> int | None:
        return sum(found for found, _ in bpf.batches(self._fd, self._info))

    def close(self) -> None:
        pass


class NextKey:
    """The walk starts anew when the key it stands at is deleted.

    Keys are therefore told apart, and a walk that is thrown back again and again, and
    might never end, is given up: no count is better than a wrong one.
    """

    name = "next-key"

    def __init__(self, fd: int, info: bpf.MapInfo, bin_dir: Path) -> None:
        self._fd, self._info = fd, info

    def count(self) -> int | None:
        seen = set()
        steps = bpf.walk_keys(self._fd, self._info.key_size)
        for number, key in enumerate(steps):
            if number == 2 * self._info.max_entries:
                return None
            seen.add(key)
        return len(seen)

    def close(self) -> None:
        pass


METHODS: tuple[type[EntryCounter], ...] = (
    MapIterator,
    ElementIterator,
    LookupBatch,
    NextKey,
)


# --- of any map -----------------------------------------------------------------------


def choose(
    fd: int, bin_dir: Path, methods: Sequence[type[EntryCounter]] = METHODS
) -> EntryCounter | None:
    """Return the first of `methods` that works here.

    None for maps that cannot be counted.

    Each is tried by counting once, as some are refused only then.
    """
    info = bpf.map_info(fd)
    if info.type not in bpf.HASHES:
        return None
    for method in methods:
        with contextlib.suppress(OSError, CommandFailed):
            counter = method(fd, info, bin_dir)
            try:
                counter.count()
            except OSError:
                counter.close()
                continue
            return counter
    return None


@dataclass(frozen=True)
class MapState:
    """A map at one moment; ``entries`` is None where there is no count."""

    type: str
    max_entries: int
    entries: int | None
    memlock_kb: float


def look(
    map_id: int, bin_dir: Path, methods: Sequence[type[EntryCounter]] = METHODS
) -> MapState | None:
    """Return the map with this id as it is now; None when it has gone.

    It is not held any longer: the timers in a map end with its last descriptor, and
    must not go on after the scheduler was unloaded.
    """
    try:
        fd = bpf.open_map(map_id)
    except FileNotFoundError:
        return None
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        info = bpf.map_info(fd)
        entries = None
        if (counter := choose(fd, bin_dir, methods)) is not None:
            stack.callback(counter.close)
            entries = counter.count()
        memlock_kb = bpf.memlock_bytes(procfs.read(bpf.fdinfo(fd))) / 1024
        return MapState(info.type_name, info.max_entries, entries, memlock_kb)
