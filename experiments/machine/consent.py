# SPDX-License-Identifier: GPL-2.0-only
"""Whether schedulers may run on this machine's own kernel: asked once a machine.

A faulty scheduler is thrown out by the kernel, but until then everything on the machine
may stand still, and sched_ext is young enough for worse.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from experiments import paths
from experiments.errors import ConfigError
from experiments.machine.facts import cpu_model
from experiments.model import digest
from experiments.support.files import atomic_write

_MACHINE_ID = Path("/etc/machine-id")
_QUESTION = """\
The scheduler under test will schedule everything on this machine ({name}, Linux
{release}), not a virtual one. A fault may freeze it for some seconds, or need a reboot.
Go on, here and in future? [yes/no] """
_REMEDY = (
    "answer yes on a terminal, or give --yes; without --backend host it runs in a VM"
)


def _remembered() -> Path:
    return paths.cache_dir() / "host.json"


def machine_id() -> str:
    """Return the same after a reboot, another one on another machine."""
    known = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    return digest([known, *(() if known else (platform.node(), cpu_model()))])[:12]


def given() -> bool:
    try:
        said = json.loads(_remembered().read_text())
        return bool(said["machine"] == machine_id())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def obtain(yes: bool, ask: Callable[[str], str] = input) -> None:
    """Ask for the user's consent and remember it; `yes` is one given beforehand.

    Nobody is asked where there is no terminal. Raises ConfigError without consent.
    """
    if given():
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(
                "--backend host runs the scheduler on this machine's own kernel, which "
                f"nobody has agreed to: {_REMEDY}"
            )
        _ask(ask)
    atomic_write(_remembered(), json.dumps({"machine": machine_id()}))


def _ask(ask: Callable[[str], str]) -> None:
    names = {"name": platform.node(), "release": platform.release()}
    try:
        answer = ask(_QUESTION.format(**names))
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigError(f"not on this machine, then: {_REMEDY}")
