# SPDX-License-Identifier: GPL-2.0-only
"""Where everything is: in the checkout, and in the cache of the user.

Used as `paths.RESULTS`, so that a test that wants another place changes it once.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).parents[1]
CONFIG_FILE = PROJECT / "config.yaml"
SCHEDULERS = PROJECT / "schedulers"
RESULTS = PROJECT / "results"
BUILD = PROJECT / "build"
#: Compiled helpers of workloads and samplers, and the module.
BIN = BUILD / "bin"


def cache_dir() -> Path:
    """Return where everything is kept that can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scxlab"
