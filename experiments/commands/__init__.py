# SPDX-License-Identifier: GPL-2.0-only
"""What a user types: tasks.py declares tasks and flags and calls these.

No other room imports them.
"""

from experiments.commands import (
    bench,
    calibrate,
    cluster,
    dev,
    results,
    run,
    setup,
    system,
)
from experiments.commands.guard import guarded

__all__ = [
    "bench",
    "calibrate",
    "cluster",
    "dev",
    "guarded",
    "results",
    "run",
    "setup",
    "system",
]
