# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the machine and the project, for the manifest."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from experiments import __version__
from experiments.proc import CommandFailed, run


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision(project: Path) -> str | None:
    """The commit, with `+` when files differ from it; None outside a checkout."""
    git = ["git", "-C", str(project)]
    try:
        commit = run([*git, "rev-parse", "HEAD"], timeout_s=20).stdout.strip()
        dirty = run([*git, "status", "--porcelain"], timeout_s=20).stdout.strip()
    except (CommandFailed, FileNotFoundError):
        return None
    return commit + ("+" if dirty else "")


def machine(project: Path) -> Mapping[str, Any]:
    return {
        "scxlab": __version__,
        "git": git_revision(project),
        "host": {
            "kernel": platform.release(),
            "cpu": cpu_model(),
            "cpus": os.cpu_count(),
            "mem_total_kb": psutil.virtual_memory().total // 1024,
            "load_1min": os.getloadavg()[0],
            "python": platform.python_version(),
        },
    }
