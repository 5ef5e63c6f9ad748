# SPDX-License-Identifier: GPL-2.0-only
"""What an agent that was killed leaves on a machine that goes on: found and taken away.

Its scheduler goes with it. Workloads may have forked on, and programs of samplers stay
pinned.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import psutil

from experiments.errors import MissingRequirement
from experiments.kernel import cgroup
from experiments.kernel.bpf import BPFFS
from experiments.machine.tuning import RUN_DIR
from experiments.support.files import atomic_write
from experiments.support.proc import run

#: What all names of ours in /sys begin with.
_PREFIX = "scxlab"
_MODULE = "scx_map_scan"
_AGENT = RUN_DIR / "agent.json"
#: An agent that was asked to end unloads its scheduler first.
END_S = 15.0
_RMMOD_TIMEOUT_S = 30.0
_POLL_S = 0.1


def remember(pid: int) -> None:
    """This process is an agent of ours."""
    said = {"pid": pid, "created": psutil.Process(pid).create_time()}
    atomic_write(_AGENT, json.dumps(said))


def clean() -> list[str]:
    """Take away what is left; what that was. Only while no experiment runs here."""
    said = _end_agent()
    for group in sorted(cgroup.ROOT.glob(f"{_PREFIX}-*/")):
        cgroup.kill(group)
        group.rmdir()
        said.append(f"killed what was left in {group}")
    for pin in sorted(BPFFS.glob(f"{_PREFIX}*")):
        shutil.rmtree(pin) if pin.is_dir() else pin.unlink()
    said += _remove_module()
    return said


def _end_agent() -> list[str]:
    """One whose starter was killed may still be cleaning up, or be stuck."""
    process = _agent()
    _AGENT.unlink(missing_ok=True)
    if process is None:
        return []
    try:
        process.terminate()
        process.wait(END_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(END_S)
    except psutil.NoSuchProcess:
        return []
    return [f"ended the agent {process.pid}, whose invoke is gone"]


def _agent() -> psutil.Process | None:
    try:
        said = json.loads(_AGENT.read_text())
        process = psutil.Process(said["pid"])
        # A number may be given to another process
        is_it = process.create_time() == said["created"]
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    running = is_it and process.status() != psutil.STATUS_ZOMBIE
    return process if running else None


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
