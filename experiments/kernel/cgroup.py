# SPDX-License-Identifier: GPL-2.0-only
"""cgroup v2: a group of our own for each run, so that its memory and tasks are ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.kernel.procfs import PROC, field_after, read

ROOT = Path("/sys/fs/cgroup")
#: In a group: which controllers the groups below it have.
SUBTREE = "cgroup.subtree_control"
#: How the line of cgroup v2 begins in /proc/PID/cgroup.
_V2 = "0::"
_POLL_S = 0.01
_EMPTY_DEADLINE_S = 10.0


def workload_group(run_id: str) -> Path:
    """Return the group that a run's workload is in, there or not."""
    return ROOT / f"scxlab-load-{run_id}"


def available() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def switch_on(*controllers: str) -> frozenset[str]:
    """Have groups below the root get these controllers; return those that work.

    Whoever cares what was there before puts it back (machine/tuning.py).
    """
    control = ROOT / SUBTREE
    for name in controllers:
        with contextlib.suppress(OSError):
            control.write_text(f"+{name}")
    try:
        return frozenset(controllers) & frozenset(control.read_text().split())
    except OSError:
        return frozenset()


def has_memory() -> bool:
    """Return whether memory of a group below the root is accounted, switching it on."""
    return bool(switch_on("memory"))


@contextlib.contextmanager
def group(name: str) -> Iterator[Path]:
    """A new group; at the end its tasks are killed and it is removed.

    The kernel keeps the charges of a removed group until they are freed.
    """
    path = ROOT / name
    path.mkdir()
    try:
        yield path
    finally:
        if own() == path:  # a signal came while we were there
            _enter(ROOT)
        kill(path)
        path.rmdir()


def own() -> Path:
    """Return the group that this process is in."""
    line = next(
        line
        for line in (PROC / "self/cgroup").read_text().splitlines()
        if line.startswith(_V2)
    )
    return ROOT / line.removeprefix(_V2).lstrip("/")


@contextlib.contextmanager
def inside(path: Path) -> Iterator[None]:
    """Be in a group with the whole process, and then again where it was.

    What is allocated meanwhile is charged to the group, and stays so.
    """
    home = own()
    try:
        _enter(path)
        yield
    finally:
        _enter(home)


def _enter(path: Path) -> None:
    (path / "cgroup.procs").write_text("0")


def populated(path: Path) -> bool:
    return field_after((path / "cgroup.events").read_text(), "populated") == 1


def kill(path: Path) -> None:
    """Kill every task in the group and wait until it is empty; TimeoutError if not."""
    (path / "cgroup.kill").write_text("1")
    end = time.monotonic() + _EMPTY_DEADLINE_S
    while populated(path):
        if time.monotonic() > end:
            raise TimeoutError(f"tasks in {path} do not die")
        time.sleep(_POLL_S)


def cpu_s(path: Path) -> float:
    """Return the CPU seconds used by the group's tasks, ended ones as well."""
    return field_after(read(path / "cpu.stat"), "usage_usec ") / 1e6


def slab_unreclaimable_bytes(path: Path) -> int:
    """Return kernel objects charged to the group, those of BPF maps among them."""
    return field_after(read(path / "memory.stat"), "slab_unreclaimable ")
