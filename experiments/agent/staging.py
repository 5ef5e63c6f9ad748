# SPDX-License-Identifier: GPL-2.0-only
"""The agent's own code, copied for a guest to run.

A copy, so that the guest sees nothing of the checkout, and nothing changes under a
running experiment.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from experiments import paths

#: Below the share; /lab/init starts the agent here.
CODE = Path(".stage/code")
#: Python packages the agent imports, all of them of the standard library's needs only.
_PACKAGES = ("experiments", "workloads")


def stage(share: Path) -> None:
    """Put a fresh copy under `share`."""
    code = share / CODE
    shutil.rmtree(code, ignore_errors=True)
    for package in _PACKAGES:
        for source in sorted((paths.PROJECT / package).rglob("*.py")):
            target = code / source.relative_to(paths.PROJECT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
