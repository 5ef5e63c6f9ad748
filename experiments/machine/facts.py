# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the machine and the project, for the manifest."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from experiments import __version__
from experiments.store.machine_facts import Host, MachineFacts
from experiments.support.proc import CommandFailed, run


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision(project: Path) -> str | None:
    """Return the commit, with `+` when files differ from it.

    None outside a checkout.
    """
    git = ["git", "-C", str(project)]
    try:
        commit = run([*git, "rev-parse", "HEAD"], timeout_s=20).stdout.strip()
        dirty = run([*git, "status", "--porcelain"], timeout_s=20).stdout.strip()
    except (CommandFailed, FileNotFoundError):
        return None
    return commit + ("+" if dirty else "")


#: What is executed on a machine that measures, and in its guest ...
_CODE = ("experiments", "workloads", "schedulers")
#: ... but for rooms that have no part in a run.
_NO_PART = ("experiments/bench", "experiments/commands", "experiments/doctor")


def source_sha256(project: Path) -> str:
    """Return a hash of names and contents of all files that have a part in a run."""
    hashed = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((project / folder).rglob("*")):
            name = path.relative_to(project)
            if path.is_file() and not _has_no_part(name):
                data = path.read_bytes()
                hashed.update(f"{name} {len(data)}\n".encode())
                hashed.update(data)
    return hashed.hexdigest()


def _has_no_part(name: Path) -> bool:
    is_cache = "__pycache__" in name.parts
    return is_cache or any(name.is_relative_to(room) for room in _NO_PART)


def revision(project: Path) -> str:
    """Return the commit and the hash of the code as it is now, for a person."""
    commit = git_revision(project)
    shown = f"commit {commit[:12]}{commit[40:]}" if commit else "no git checkout"
    return f"{shown}, source {source_sha256(project)[:12]}"


def machine(project: Path) -> Mapping[str, Any]:
    host = Host(
        kernel=platform.release(),
        cpu=cpu_model(),
        cpus=os.cpu_count(),
        mem_total_kb=psutil.virtual_memory().total // 1024,
        load_1min=os.getloadavg()[0],
        python=platform.python_version(),
    )
    found = MachineFacts(scxlab=__version__, git=git_revision(project), host=host)
    return found.written("git")
