# SPDX-License-Identifier: GPL-2.0-only
"""What builds for the machine's own kernel: the lab root, or tools of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from experiments.errors import MissingRequirement
from experiments.labroot.lab_root import LabRoot, is_made, machine, open_root
from experiments.model import digest
from experiments.support.proc import CommandFailed, run

#: program or file -> the package that has it
_NEEDED = {
    "clang": "clang",
    "llvm-strip": "llvm",
    "bpftool": "bpftool",
    "gcc": "gcc",
    "/usr/include/bpf/bpf_helpers.h": "libbpf-dev",
    "/usr/lib/x86_64-linux-gnu/libc.a": "libc6-dev",
}
_PROGRAMS = ("clang", "bpftool", "gcc")


def open_tools() -> LabRoot:
    """Return the lab root where there is one, else what the machine has in its place.

    Raises MissingRequirement naming what both lack.
    """
    return open_root() if is_made() else _own()


def _own() -> LabRoot:
    if lacking := [name for name in _NEEDED if not _is_there(name)]:
        packages = " ".join(dict.fromkeys(_NEEDED[name] for name in lacking))
        raise MissingRequirement(
            f"there is no lab root to build with, and this machine has no "
            f"{', '.join(lacking)}: invoke setup, or apt-get install {packages}"
        )
    versions = {name: _version(name) for name in _PROGRAMS}
    key = f"machine-{digest(versions)[:12]}"
    return LabRoot(machine(), key, "the machine's own", versions)


def _is_there(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else bool(shutil.which(name))


def _version(program: str) -> str:
    try:
        said = run([program, "--version"], timeout_s=30).stdout
    except CommandFailed:
        return "unknown"
    return said.strip().splitlines()[0]
