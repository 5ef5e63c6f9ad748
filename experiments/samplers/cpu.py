# SPDX-License-Identifier: GPL-2.0-only
"""How busy the CPUs were, and the CPU time that the workload itself used."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from experiments.columns import Column, Kind
from experiments.kernel import cgroup, procfs
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


class CpuSampler(Sampler):
    name = "cpu"
    columns = (
        Column("cpu_busy_percent", "%", "CPUs busy", Kind.INTERVAL),
        Column("cpu_spread_percent", "%", "busiest less idlest CPU", Kind.INTERVAL),
        Column("load_cpu_s", "s", "CPU time of the workload", Kind.COUNTER),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._group = cgroup.workload_group(job.spec.run_id)
        self._before = procfs.cpu_times()

    def missing(self) -> Sequence[str]:
        return ()

    def sample(self) -> Mapping[str, float]:
        now, before = procfs.cpu_times(), self._before
        self._before = now
        busy = [n.busy_percent_since(b) for n, b in zip(now, before, strict=False)]
        values = {
            "cpu_busy_percent": sum(busy) / len(busy),
            "cpu_spread_percent": max(busy) - min(busy),
        }
        with contextlib.suppress(FileNotFoundError):
            values["load_cpu_s"] = cgroup.cpu_s(self._group)
        return values


SAMPLER = CpuSampler
