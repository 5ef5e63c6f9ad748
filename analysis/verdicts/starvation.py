# SPDX-License-Identifier: GPL-2.0-only
"""Whether tasks starved under test: then its claims do not hold without reservation.

Means and even percentiles hardly change when one task in a thousand does not run for
seconds, and a clean-up that holds the CPU, or a scheduler that forgets a task, does
just that. The longest wait tells: it is of all tasks, and of those that still waited
when the run ended.
"""

from __future__ import annotations

import numpy as np

from analysis.compare.effect import Group
from analysis.load.frames import Data
from analysis.load.measures import number
from experiments.model import CONTROL

#: A wait beyond both is starving: so long, and so many times control's longest, which
#: tells what this workload on this machine makes tasks wait anyway.
LIMIT_US = 1e6
TIMES_CONTROL = 2.0

_WHOSE = {
    "run_queue_latency_max": "a task of the workload",
    "system_wait_max": "a task beside the workload",
}


def starvation(data: Data, group: Group) -> str:
    """Return which tasks starved under test, in a sentence; empty if none did."""
    found = []
    for metric, whose in _WHOSE.items():
        test = _longest_us(data, group, group.variant, metric)
        control = _longest_us(data, group, CONTROL, metric)
        if test > LIMIT_US and test > TIMES_CONTROL * control:
            found.append(
                f"{whose} waited {_seconds(test)} for a CPU, under control "
                f"{_seconds(control)} at the most"
            )
    return f"Tasks starved under test: {'; '.join(found)}." if found else ""


def _longest_us(data: Data, group: Group, variant: str, metric: str) -> float:
    """Return the longest wait in all runs of a variant; 0 where none was measured."""
    rows = data.metrics
    here = (
        (rows["scheduler"] == group.scheduler)
        & (rows["workload"] == group.workload)
        & (rows["variant"] == variant)
        & (rows["name"] == metric)
    )
    values = rows.loc[here, "value"].to_numpy(dtype=float)
    return float(np.max(values[np.isfinite(values)], initial=0.0))


def _seconds(us: float) -> str:
    return f"{number(us / 1e6)} s"
