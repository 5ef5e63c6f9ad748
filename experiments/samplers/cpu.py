# SPDX-License-Identifier: GPL-2.0-only
"""How busy the CPUs were, and the CPU time that the workload itself used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil

from experiments.kernel import cgroup
from experiments.model import Job, Loaded, Sampler


class CpuSampler(Sampler):
    name = "cpu"

    def __init__(self, job: Job, loaded: Loaded) -> None:
        self._group = cgroup.load_group(job.spec.run_id)
        psutil.cpu_percent(percpu=True)  # the next call is of the time since this one

    def missing(self) -> Sequence[str]:
        return ()

    def sample(self) -> Mapping[str, float]:
        busy = psutil.cpu_percent(percpu=True)
        values = {
            "cpu_busy_percent": sum(busy) / len(busy),
            "cpu_spread_percent": max(busy) - min(busy),
        }
        if self._group.exists():
            values["load_cpu_s"] = cgroup.cpu_s(self._group)
        return values


SAMPLER = CpuSampler
