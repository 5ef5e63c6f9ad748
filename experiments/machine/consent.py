# SPDX-License-Identifier: GPL-2.0-only
"""Whether schedulers may run on this machine's own kernel: asked once a kernel.

A faulty scheduler is thrown out by the kernel, but until then everything on the machine
may stand still, and sched_ext is young enough for worse. What one kernel survives
another may not. A module that is put into the kernel is agreed to by itself.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments import paths
from experiments.errors import ConfigError
from experiments.machine.facts import cpu_model
from experiments.model import digest
from experiments.support.files import atomic_write

#: The strategy that takes a module, and the module (build/builder.py).
_BY_MODULE, _MODULE_FILE = "kfunc", "scx_map_scan.ko"
_MACHINE_ID = Path("/etc/machine-id")
_QUESTION = """\
The scheduler under test will schedule everything on this machine ({name}, Linux
{release}), not a virtual one. A fault may freeze it for some seconds, or need a reboot.
{module}Go on, here and in future, with this kernel? [yes/no] """
_MODULE = """\
The strategy kfunc also loads {file} where the kernel does not have its function: a
module from outside, a fault in which is one in the kernel itself. It taints the kernel
(O: out of tree, and E where it is unsigned) until the next reboot.
"""
_REMEDY = (
    "answer yes on a terminal, or give --yes; without --backend host it runs in a VM"
)


def _remembered() -> Path:
    return paths.cache_dir() / "host.json"


def machine_id() -> str:
    """Return the same after a reboot, another one on another machine."""
    known = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    return digest([known, *(() if known else (platform.node(), cpu_model()))])[:12]


def _agreement(module: bool) -> dict[str, object]:
    """Return what is agreed to: here, with this kernel, with its module or without."""
    kernel = f"{platform.release()} {platform.version()}"
    return {"machine": machine_id(), "kernel": kernel, "module": module}


def given(module: bool = False) -> bool:
    """Return whether it was agreed to run here, and with the `module` if it is asked.

    Whoever agreed to the module agreed to do without.
    """
    try:
        said = json.loads(_remembered().read_text())
    except (FileNotFoundError, ValueError):
        return False
    return said in (_agreement(True), _agreement(module))


def needs_module(cleanups: Iterable[str]) -> bool:
    """Return whether one of these strategies loads a module into this kernel."""
    return _BY_MODULE in cleanups


def obtain(yes: bool, module: bool = False, ask: Callable[[str], str] = input) -> None:
    """Ask for the user's consent and remember it; `yes` is one given beforehand.

    Nobody is asked where there is no terminal. Raises ConfigError without consent.
    """
    if given(module):
        return
    if not yes:
        if not sys.stdin.isatty():
            what = " and loads a module into it" if module else ""
            raise ConfigError(
                "--backend host runs the scheduler on this machine's own kernel"
                f"{what}, which nobody has agreed to with this kernel: {_REMEDY}"
            )
        _ask(ask, module)
    atomic_write(_remembered(), json.dumps(_agreement(module)))


def _ask(ask: Callable[[str], str], module: bool) -> None:
    more = _MODULE.format(file=_MODULE_FILE) if module else ""
    names = {"name": platform.node(), "release": platform.release()}
    try:
        answer = ask(_QUESTION.format(**names, module=more))
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigError(f"not on this machine, then: {_REMEDY}")
