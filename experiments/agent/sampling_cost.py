# SPDX-License-Identifier: GPL-2.0-only
"""What each sampler's samples cost in CPU and in time, taken as they are made."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.plugins import Sampler


@dataclass(frozen=True)
class _Cost:
    cpu_us: float
    wall_us: float


class SamplingCosts:
    """One of these for a run; the thread that samples is the one that asks."""

    def __init__(self) -> None:
        self._costs: defaultdict[str, list[_Cost]] = defaultdict(list)

    def of(self, sampler: Sampler) -> Mapping[str, float]:
        """Take a sample, and note what it cost."""
        cpu_ns, wall_ns = time.thread_time_ns(), time.perf_counter_ns()
        values = sampler.sample()
        cost = _Cost(
            (time.thread_time_ns() - cpu_ns) / 1e3,
            (time.perf_counter_ns() - wall_ns) / 1e3,
        )
        self._costs[sampler.name].append(cost)
        return values

    def facts(self) -> dict[str, Any]:
        """Return name -> samples, and medians of their CPU and wall time in us."""
        return {
            name: {
                "samples": len(costs),
                "cpu_us": round(statistics.median(c.cpu_us for c in costs), 1),
                "wall_us": round(statistics.median(c.wall_us for c in costs), 1),
                "wall_us_max": round(max(c.wall_us for c in costs), 1),
            }
            for name, costs in self._costs.items()
        }
