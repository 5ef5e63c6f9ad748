# SPDX-License-Identifier: GPL-2.0-only
"""Processes, mounts and kernel objects of ours whose invoke is gone.

A process is ours when it makes a cell of a lab root of this cache, or the root itself:
its command line names it. What it made ends with it. It is dead when none
of its ancestors holds the lock of the lab root, as every invoke does that uses one, and
none sits at a terminal, where somebody may have started it by hand.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from experiments import paths
from experiments.doctor.stale_files import InUse
from experiments.errors import ExperimentError
from experiments.kernel import procfs
from experiments.machine import stale_state, tuning
from experiments.machine.stale_state import Leftover
from experiments.support import locks
from experiments.support.proc import run

_ATTRS = ["pid", "cmdline"]
_CELL = "_cell_main.py"
_BY_USER, _SETUP = "unshare", "mmdebstrap"
_END_S = 10.0
_UMOUNT_S = 20.0
PID_NAMESPACE = "ns/pid"
PROC = Path("/proc")


class StillThere(ExperimentError):
    """It was asked to go and did not."""


# --- processes ------------------------------------------------------------------------


def processes(cache: Path | None = None) -> Iterator[Leftover]:
    """Yield each process that makes a cell, or a lab root, with all it started."""
    cache = cache or paths.cache_dir()
    for process in psutil.process_iter(_ATTRS):
        argv = process.info["cmdline"] or []
        if not (_program(argv, cache) or _sets_up(argv, cache)):
            continue
        if _is_orphan(process, cache):
            end = functools.partial(_end, process, cache)
            words = _program(argv, cache) or _SETUP
            yield Leftover(f"process {process.pid}: {words}", end)


def _roots(cache: Path) -> tuple[str, ...]:
    """Return how the paths of lab roots begin, those in the making included."""
    return (f"{cache}/labroot-", f"{cache}/.labroot-")


def _program(argv: Sequence[str], cache: Path) -> str:
    """Return what runs in the cell of a lab root, and with what; empty if nothing does.

    Whose command line it is, is not known: it may be any text.
    """
    if len(argv) < 2 or Path(argv[-2]).name != _CELL:
        return ""
    try:
        plan = json.loads(argv[-1])
        name, binds = Path(plan["argv"][0]).name, plan["binds"]
        if not plan["root"].startswith(_roots(cache)):
            return ""
        return f"{name} with {binds[-1][0]}" if binds else name
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _sets_up(argv: Sequence[str], cache: Path) -> bool:
    of_root = any(a.startswith(_roots(cache)) for a in argv)
    return argv[:1] == [_BY_USER] and _SETUP in argv and of_root


def _is_orphan(process: psutil.Process, cache: Path) -> bool:
    """Return whether it is certain that whoever started it is gone."""
    try:
        if _namespace(process.pid) != _namespace(os.getpid()):
            # Part of another orphan, or of a container, whose processes are its own
            return False
        living = _invokes(cache)
        return os.getpid() in living and not any(
            p.pid in living or p.terminal() for p in process.parents()
        )
    except (psutil.Error, OSError):  # it has ended, or is not for us to look at
        return False


def _invokes(cache: Path) -> set[int]:
    """Return who holds the lock of the lab roots, this process among them.

    Where this process is not, the kernel does not tell the truth of this file system,
    or setup is at work.
    """
    lock = cache / locks.LOCK
    with locks.unused(lock):
        return procfs.lock_holders(lock)


def _namespace(pid: int) -> str:
    return str((PROC / str(pid) / PID_NAMESPACE).readlink())


def _end(process: psutil.Process, cache: Path) -> None:
    """Send SIGKILL: its namespaces, mounts and processes go with it."""
    if not _is_orphan(process, cache):
        raise InUse("it has ended, or has a living parent")
    process.kill()
    _, alive = psutil.wait_procs([process], timeout=_END_S)
    if alive:
        raise StillThere(f"it does not die within {_END_S:g} s")


def running() -> list[int]:
    """Return the other processes that use a lab root, in any cache, or the host.

    An experiment on the machine's own kernel may do without a lab root, but not
    without the lock of the settings.
    """
    on_host = locks.owner(tuning.RUN_DIR / tuning.LOCK)
    found = [on_host.pid] if on_host else []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and _holds_lock(process):
                found.append(process.pid)
        except psutil.Error:  # it has ended, or is another user's
            continue
    return found


def _holds_lock(process: psutil.Process) -> bool:
    lock = f"/{paths.cache_dir().name}/{locks.LOCK}"
    return any(file.path.endswith(lock) for file in process.open_files())


# --- mounts ---------------------------------------------------------------------------


def mounts(cache: Path | None = None) -> list[Leftover]:
    """Return mounts in lab roots.

    We mount in namespaces of our own, so none is in use.
    """
    points = [p.mountpoint for p in psutil.disk_partitions(all=True)]
    roots = _roots(cache or paths.cache_dir())
    # What lies in another one is unmounted before it
    ours = sorted((p for p in points if p.startswith(roots)), reverse=True)
    return [Leftover(f"mount {p}", functools.partial(_umount, p)) for p in ours]


def _umount(point: str) -> None:
    run(["umount", point], timeout_s=_UMOUNT_S)


# --- kernel objects -------------------------------------------------------------------


def kernel_objects() -> list[Leftover]:
    """Return pins and control groups of the host backend, as long as no invoke runs."""
    found = list(stale_state.kernel_objects())
    if not found or running():
        return []
    return [Leftover(x.what, functools.partial(_remove_unused, x)) for x in found]


def _remove_unused(left: Leftover) -> None:
    if pids := running():
        raise InUse(f"an invoke runs now (pid {pids[0]})")
    left.remove()
