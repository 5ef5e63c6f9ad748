# SPDX-License-Identifier: GPL-2.0-only
"""/proc: numbers out of its text files."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")


def field_after(text: str, name: str) -> int:
    """The first number on the line that starts with `name`; KeyError without one."""
    for line in text.splitlines():
        if line.startswith(name):
            return int(line[len(name) :].split()[0])
    raise KeyError(name)


def mem_free_kb() -> int:
    return field_after((PROC / "meminfo").read_text(), "MemFree:")


def forks() -> int:
    """Tasks (processes and threads) created since boot."""
    return field_after((PROC / "stat").read_text(), "processes ")
