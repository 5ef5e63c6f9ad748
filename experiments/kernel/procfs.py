# SPDX-License-Identifier: GPL-2.0-only
"""/proc: numbers out of its text files."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_READ_BYTES = 1 << 16


def read(path: Path) -> str:
    """Return a whole file, in two thirds of the time of Path.read_text.

    Samples read many.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        chunks = []
        while chunk := os.read(fd, _READ_BYTES):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks).decode()


class KeptFile:
    """A file of the kernel's that is read with every sample.

    It stays open, as opening costs as much as reading. Each reading is of its own
    moment.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def text(self) -> str:
        chunks = [os.pread(self._fd, _READ_BYTES, 0)]
        while len(chunks[-1]) == _READ_BYTES:
            chunks.append(os.pread(self._fd, _READ_BYTES, _READ_BYTES * len(chunks)))
        return b"".join(chunks).decode()

    def close(self) -> None:
        os.close(self._fd)


#: Those of the whole machine stay open as long as the process lives.
_kept = functools.cache(KeptFile)


def field_after(text: str, name: str) -> int:
    """Return the first number on the line that starts with `name`.

    KeyError without one.
    """
    at = f"\n{text}".find(f"\n{name}")
    if at < 0:
        raise KeyError(name)
    return int(text[at + len(name) :].split(maxsplit=1)[0])


def mounted_at(path: Path) -> str:
    """Return the type of the file system mounted there, as bpf; empty when none is."""
    found = ""
    for line in read(PROC / "self/mountinfo").splitlines():
        place, _, system = line.partition(" - ")
        if place.split()[4] == str(path):  # the last one hides the others
            found = system.split()[0]
    return found


def meminfo_kb(*names: str) -> list[int]:
    """Return fields of /proc/meminfo, of one moment."""
    text = _kept(PROC / "meminfo").text()
    return [field_after(text, f"{name}:") for name in names]


def forks() -> int:
    """Return tasks (processes and threads) created since boot."""
    return field_after(_kept(PROC / "stat").text(), "processes ")


@dataclass(frozen=True)
class CpuTime:
    """Of one CPU since boot, in ticks of 1/USER_HZ s."""

    busy: int
    idle: int  # also while waiting for a disk

    def busy_percent_since(self, before: CpuTime) -> float:
        """Return 0 where no tick has passed."""
        busy, idle = self.busy - before.busy, self.idle - before.idle
        return 100 * busy / (busy + idle) if busy + idle > 0 else 0.0


def cpu_times() -> list[CpuTime]:
    """Return what /proc/stat has of every CPU that is online.

    The columns are user, nice, system, idle, iowait, irq, softirq, steal, guest, guest
    nice; user and nice contain the last two (Documentation/filesystems/proc.rst).
    """
    times = []
    for line in _kept(PROC / "stat").text().splitlines()[1:]:
        if not line.startswith("cpu"):
            break
        ticks = [int(column) for column in line.split()[1:9]]
        idle = ticks[3] + ticks[4]
        times.append(CpuTime(sum(ticks) - idle, idle))
    return times


def stacks(tids: Iterable[int]) -> str:
    """Return name, state, CPUs and stack in the kernel of threads that still live."""
    found = []
    for tid in tids:
        task = PROC / str(tid)
        with contextlib.suppress(OSError):
            status = (task / "status").read_text().splitlines()
            said = [s for s in status if s.startswith(("Name:", "State:", "Cpus_a"))]
            stack = (task / "stack").read_text()
            found.append(f"{tid}  {'  '.join(said)}\n{stack}")
    return "".join(found)


def context_switches() -> int:
    """Return the context switches since boot, of all CPUs."""
    return field_after(_kept(PROC / "stat").text(), "ctxt ")


def tasks() -> int:
    """Return processes and threads there are now."""
    return int(_kept(PROC / "loadavg").text().split()[3].split("/")[1])


@dataclass(frozen=True)
class SchedStat:
    """Of /proc/schedstat, over all CPUs, since boot; of tasks of every class."""

    run_delay_ns: int  # spent waiting for a CPU
    timeslices: int


def schedstat() -> SchedStat:
    """Return columns 8 and 9 of the cpu lines, summed.

    Source: Documentation/scheduler/sched-stats.rst.
    """
    text = _kept(PROC / "schedstat").text()
    rows = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    return SchedStat(sum(int(r[8]) for r in rows), sum(int(r[9]) for r in rows))


@dataclass(frozen=True)
class ProcessIdentity:
    """Which process it is: numbers are given again, and a clock may be set.

    So it is not the time of day when it was started, as psutil has it, but the clock
    ticks since boot, and which boot that was.
    """

    pid: int
    started_ticks: int
    boot_id: str


def identity(pid: int) -> ProcessIdentity:
    """Return who has this number now; ProcessLookupError when nobody lives who does."""
    try:
        # Field 2 is the name, which may hold spaces and parentheses
        fields = read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return ProcessIdentity(pid, int(fields[19]), boot_id())


def boot_id() -> str:
    return read(PROC / "sys/kernel/random/boot_id").strip()


def lock_holders(path: Path) -> set[int]:
    """Return processes that have this file locked, those of other users included.

    /proc/locks names files by device and inode; the device is not that of stat(2)
    on every file system, so it is not compared: rarely there is one holder too
    many.
    """
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return set()
    rows = (line.split() for line in read(PROC / "locks").splitlines())
    # `1: FLOCK ADVISORY READ pid major:minor:inode first last`; who waits has `->`
    held = (r for r in rows if len(r) == 8 and r[1] != "->")
    return {int(r[4]) for r in held if int(r[5].split(":")[2]) == inode}
