# SPDX-License-Identifier: GPL-2.0-only
"""Find and take away what an agent that was killed leaves on a machine that goes on.

Its scheduler goes with its pins. Workloads may have forked on, and programs of samplers
stay pinned. Whoever asks has to know that no experiment runs here: the host backend
holds the lock of the settings, the doctor looks for other invokes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import MissingRequirement
from experiments.kernel import cgroup, procfs
from experiments.kernel.bpf import BPFFS
from experiments.kernel.scx_dump import PREFIX, TRACEFS
from experiments.machine.tuning import RUN_DIR
from experiments.support.files import atomic_write
from experiments.support.proc import run

#: Names of ours in /sys: of a run, and that of the timer of a clean-up strategy.
_PINS = ("scxlab-*", "scxlab_timer")
_GROUPS = "scxlab-*/"
_COPIES = Path("/tmp/scxlab-bin-*")
_MODULE = "scx_map_scan"
_AGENT = RUN_DIR / "agent.json"
#: An agent that was asked to end unloads its scheduler first.
END_S = 15.0
_RMMOD_TIMEOUT_S = 30.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Leftover:
    """``remove`` raises OSError or ExperimentError when it cannot."""

    what: str
    remove: Callable[[], None]


def remember(pid: int) -> None:
    """Record that this process is an agent of ours."""
    atomic_write(_AGENT, json.dumps(dataclasses.asdict(procfs.identity(pid))))


def clean() -> list[str]:
    """Take away what is left; what that was. Only while no experiment runs here."""
    said = _end_agent()
    for left in (*kernel_objects(), *_copies()):
        left.remove()
        said.append(f"removed {left.what}")
    said += _remove_module()
    return said


def kernel_objects() -> Iterator[Leftover]:
    """Yield pins, which keep a scheduler loaded, control groups, tracing instances."""
    for pin in sorted(path for pattern in _PINS for path in BPFFS.glob(pattern)):
        yield Leftover(f"pin {pin}", functools.partial(_unpin, pin))
    for group in sorted(cgroup.ROOT.glob(_GROUPS)):
        what = f"control group {group}"
        yield Leftover(what, functools.partial(_remove_group, group))

    for instance in sorted((TRACEFS / "instances").glob(f"{PREFIX}*")):
        yield Leftover(f"tracing instance {instance}", instance.rmdir)


def _copies() -> Iterator[Leftover]:
    """Yield copies of programs that an agent, root as we are, made for a workload."""
    for path in sorted(_COPIES.parent.glob(_COPIES.name)):
        if path.lstat().st_uid == os.geteuid() and not path.is_symlink():
            yield Leftover(f"programs {path}", functools.partial(shutil.rmtree, path))


def _unpin(pin: Path) -> None:
    if pin.is_dir():
        shutil.rmtree(pin)
    else:
        pin.unlink()


def _remove_group(group: Path) -> None:
    """Remove a control group with the tasks in it."""
    cgroup.kill(group)
    group.rmdir()


def _end_agent() -> list[str]:
    """End one whose starter was killed; it may still be cleaning up, or be stuck."""
    with contextlib.ExitStack() as stack:
        agent = _agent()
        _AGENT.unlink(missing_ok=True)
        if agent is None:
            return []
        stack.callback(os.close, agent.handle)
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(agent.handle, sig)
            if select.select([agent.handle], [], [], END_S)[0]:
                return [f"ended the agent {agent.pid}, whose invoke is gone"]
    raise MissingRequirement(f"the agent {agent.pid} of a killed run does not die")


@dataclass(frozen=True)
class _Agent:
    """A process that lives; ``handle`` is it and no other, whoever gets its number."""

    pid: int
    handle: int


def _agent() -> _Agent | None:
    try:
        said = procfs.ProcessIdentity(**json.loads(_AGENT.read_text()))
        handle = os.pidfd_open(said.pid)
    except (FileNotFoundError, ProcessLookupError, ValueError, TypeError):
        return None
    # Compared after it was opened: who has the number now had it then
    with contextlib.suppress(ProcessLookupError):
        if procfs.identity(said.pid) == said:
            return _Agent(said.pid, handle)
    os.close(handle)
    return None


def _remove_module() -> list[str]:
    if not (Path("/sys/module") / _MODULE).exists():
        return []
    # The programs that hold it are freed some time after their agent died
    deadline = time.monotonic() + END_S
    while True:
        done = run(["rmmod", _MODULE], timeout_s=_RMMOD_TIMEOUT_S, check=False)
        if not done.returncode:
            return [f"removed the module {_MODULE}"]
        if time.monotonic() > deadline:
            raise MissingRequirement(
                f"the module {_MODULE} of a run that was killed does not go: "
                f"{done.stderr.strip()}"
            )
        time.sleep(_POLL_S)
