# SPDX-License-Identifier: GPL-2.0-only
"""What a workload has: no privileges, programs within its reach, and bounds.

It runs as an ordinary user, so that it can neither touch the agent, nor the scheduler
and its maps, nor the files of other runs. The bounds keep one that has gone wild from
taking the machine down. A fair workload does not meet them: a run that does has failed,
as its figures would be those of the bound.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.kernel import cgroup, procfs
from experiments.model import User
from experiments.plugins import Workload

#: Its working directory, and its home.
HOME = Path("/tmp")
#: In it: how copies of the programs begin; those of an agent that was killed are taken
#: away by machine/stale_state.py.
COPIES = "scxlab-bin-"
#: Of the threads that the machine can have, and no more than so many.
_PIDS_SHARE = 7 / 8
_PIDS_MAX = 1 << 16
#: Of the memory that is available when it starts.
_MEMORY_SHARE = 0.9
_READ, _ENTER = 4, 5


def env() -> dict[str, str]:
    """Return its environment: the agent's may hold what is not for everybody."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "HOME": str(HOME), "LC_ALL": "C.UTF-8"}


def capabilities(workload: Workload) -> Sequence[str]:
    """Return the capabilities that a workload says it needs; mostly none."""
    named: Sequence[str] = getattr(workload, "capabilities", ())
    return named


# --- programs -------------------------------------------------------------------------


@contextlib.contextmanager
def reachable(bin_dir: Path, user: User) -> Iterator[Path]:
    """`bin_dir`, or a copy where `user` can run what is in it.

    A checkout may lie in a home directory that nobody else may enter.
    """
    if _can_use(bin_dir, user):
        yield bin_dir
        return
    with tempfile.TemporaryDirectory(prefix=COPIES, dir=HOME) as made:
        copy = Path(made)
        for path in (p for p in bin_dir.glob("*") if p.is_file()):
            shutil.copyfile(path, copy / path.name)
            (copy / path.name).chmod(0o755)
        copy.chmod(0o755)
        yield copy


def _can_use(bin_dir: Path, user: User) -> bool:
    place = bin_dir.resolve()
    return all(_allows(p, user, _ENTER) for p in (place, *place.parents)) and all(
        _allows(p, user, _READ) for p in place.glob("*")
    )


def _allows(path: Path, user: User, bits: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid == user.gid else 0
    return (found.st_mode >> shift) & bits == bits


# --- bounds ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """Of the workload's control group: how many threads, how much memory."""

    pids: int
    memory_bytes: int


def bounds() -> Bounds:
    """Return what a workload may have on this machine, as it is now."""
    kernel = procfs.PROC / "sys/kernel"
    threads = min(int((kernel / n).read_text()) for n in ("pid_max", "threads-max"))
    (available_kb,) = procfs.meminfo_kb("MemAvailable")
    page_kb = os.sysconf("SC_PAGESIZE") // 1024  # the kernel cuts off what is beyond
    return Bounds(
        min(_PIDS_MAX, int(threads * _PIDS_SHARE)),
        int(available_kb * _MEMORY_SHARE) // page_kb * page_kb * 1024,
    )


def bind(group: Path, chosen: Bounds) -> Mapping[str, int]:
    """Set the bounds of a group; return those that this kernel honours.

    They take the place of the number of processes that a user may have, which is less,
    and counts those of other programs of that user as well.
    """
    resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY,) * 2)
    on = cgroup.switch_on("pids", "memory")
    wanted = {"pids": chosen.pids, "memory": chosen.memory_bytes}
    for name in on:
        (group / f"{name}.max").write_text(f"{wanted[name]}")
    return {name: wanted[name] for name in sorted(on)}


def met(group: Path | None) -> str:
    """Return which bound the tasks of a group have met, in words; empty if none."""
    if group is None:
        return ""
    said = []
    if _count(group / "pids.events", "max"):
        said.append(f"{(group / 'pids.max').read_text().strip()} processes")
    if _count(group / "memory.events", "oom_kill"):
        said.append(f"{(group / 'memory.max').read_text().strip()} bytes of memory")
    return f"the workload wanted more than {' and '.join(said)}" if said else ""


def _count(events: Path, name: str) -> int:
    try:
        return procfs.field_after(events.read_text(), f"{name} ")
    except FileNotFoundError:  # a controller that is not there
        return 0
