# SPDX-License-Identifier: GPL-2.0-only
"""/proc: numbers out of its text files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


def field_after(text: str, name: str) -> int:
    """The first number on the line that starts with `name`; KeyError without one."""
    for line in text.splitlines():
        if line.startswith(name):
            return int(line[len(name) :].split()[0])
    raise KeyError(name)


def meminfo_kb(*names: str) -> list[int]:
    """Fields of /proc/meminfo, of one moment."""
    text = (PROC / "meminfo").read_text()
    return [field_after(text, f"{name}:") for name in names]


def forks() -> int:
    """Tasks (processes and threads) created since boot."""
    return field_after((PROC / "stat").read_text(), "processes ")


def context_switches() -> int:
    """Since boot, of all CPUs."""
    return field_after((PROC / "stat").read_text(), "ctxt ")


def tasks() -> int:
    """Processes and threads there are now."""
    return int((PROC / "loadavg").read_text().split()[3].split("/")[1])


@dataclass(frozen=True)
class SchedStat:
    """Of /proc/schedstat, over all CPUs, since boot; of tasks of every class."""

    run_delay_ns: int  # spent waiting for a CPU
    timeslices: int


def schedstat() -> SchedStat:
    """Columns 8 and 9 of the cpu lines (Documentation/scheduler/sched-stats.rst)."""
    text = (PROC / "schedstat").read_text()
    rows = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    return SchedStat(sum(int(r[8]) for r in rows), sum(int(r[9]) for r in rows))
