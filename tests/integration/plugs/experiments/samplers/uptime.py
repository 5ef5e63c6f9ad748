# SPDX-License-Identifier: GPL-2.0-only
"""A sampler with columns of its own, as somebody would add it: /proc/uptime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.columns import Column, Kind
from experiments.kernel import procfs
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


class UptimeSampler(Sampler):
    name = "uptime"
    by_default = False
    columns = (
        Column("uptime_s", "s", "time since boot", Kind.GAUGE),
        Column("idle_s", "CPU seconds", "idle time of all CPUs", Kind.COUNTER),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        pass

    def missing(self) -> Sequence[str]:
        return ()

    def sample(self) -> Mapping[str, float]:
        uptime, idle = (procfs.PROC / "uptime").read_text().split()
        return {"uptime_s": float(uptime), "idle_s": float(idle)}


SAMPLER = UptimeSampler
