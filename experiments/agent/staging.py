# SPDX-License-Identifier: GPL-2.0-only
"""The code that the guest gets: its own rooms and what they know, nothing else.

A copy, so that the guest sees nothing of the checkout, and nothing changes under a
running experiment.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from experiments import paths

#: Rooms that run in the guest, whole but for what is of the other end of the line.
_ROOMS = (
    "experiments/agent",
    "experiments/kernel",
    "experiments/loaders",
    "experiments/samplers",
    "workloads",
)
_OTHER_END = (
    "experiments/agent/client.py",
    "experiments/agent/handing.py",
    "experiments/agent/returned.py",
    "experiments/agent/staging.py",
)
#: What these rooms know outside of them.
_MODULES = (
    "experiments/__init__.py",
    "experiments/columns.py",
    "experiments/errors.py",
    "experiments/model.py",
    "experiments/plugins.py",
    "experiments/registry.py",
    "experiments/support/__init__.py",
    "experiments/support/printable.py",
    "experiments/support/proc.py",
    "experiments/support/quantiles.py",
)


def guest_files() -> list[Path]:
    """Return the files that the guest gets, as paths below the project."""
    found = [
        path.relative_to(paths.PROJECT)
        for room in _ROOMS
        for path in (paths.PROJECT / room).rglob("*.py")
    ]
    host_side = {Path(name) for name in _OTHER_END}
    return sorted({*found, *map(Path, _MODULES)} - host_side)


def stage(code: Path) -> None:
    """Put a copy into the directory `code`, for everybody to read."""
    for source in guest_files():
        target = code / source
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths.PROJECT / source, target)
