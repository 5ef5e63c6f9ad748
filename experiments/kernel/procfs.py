# SPDX-License-Identifier: GPL-2.0-only
"""/proc: numbers out of its text files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_READ_BYTES = 1 << 16


def read(path: Path) -> str:
    """A whole file, in two thirds of the time of Path.read_text: samples read many."""
    fd = os.open(path, os.O_RDONLY)
    try:
        chunks = []
        while chunk := os.read(fd, _READ_BYTES):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks).decode()


def field_after(text: str, name: str) -> int:
    """The first number on the line that starts with `name`; KeyError without one."""
    for line in text.splitlines():
        if line.startswith(name):
            return int(line[len(name) :].split()[0])
    raise KeyError(name)


def mounted_at(path: Path) -> str:
    """The type of the file system mounted there, as bpf; empty when none is."""
    found = ""
    for line in read(PROC / "self/mountinfo").splitlines():
        place, _, system = line.partition(" - ")
        if place.split()[4] == str(path):  # the last one hides the others
            found = system.split()[0]
    return found


def meminfo_kb(*names: str) -> list[int]:
    """Fields of /proc/meminfo, of one moment."""
    text = read(PROC / "meminfo")
    return [field_after(text, f"{name}:") for name in names]


def forks() -> int:
    """Tasks (processes and threads) created since boot."""
    return field_after(read(PROC / "stat"), "processes ")


def context_switches() -> int:
    """Since boot, of all CPUs."""
    return field_after(read(PROC / "stat"), "ctxt ")


def tasks() -> int:
    """Processes and threads there are now."""
    return int(read(PROC / "loadavg").split()[3].split("/")[1])


@dataclass(frozen=True)
class SchedStat:
    """Of /proc/schedstat, over all CPUs, since boot; of tasks of every class."""

    run_delay_ns: int  # spent waiting for a CPU
    timeslices: int


def schedstat() -> SchedStat:
    """Columns 8 and 9 of the cpu lines (Documentation/scheduler/sched-stats.rst)."""
    text = read(PROC / "schedstat")
    rows = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    return SchedStat(sum(int(r[8]) for r in rows), sum(int(r[9]) for r in rows))
