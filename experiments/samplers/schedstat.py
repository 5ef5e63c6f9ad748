# SPDX-License-Identifier: GPL-2.0-only
"""Waits for a CPU, time slices and context switches of the machine, by the kernel.

The kernel adds them up at every switch, for tasks of all classes and lives, in
/proc/schedstat and /proc/stat; all are since the first sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.columns import Column, Kind
from experiments.kernel import procfs
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


class SchedstatSampler(Sampler):
    name = "schedstat"
    columns = (
        Column("run_delay_ns", "ns", "time all tasks waited for a CPU", Kind.COUNTER),
        Column("timeslices", "time slices", "time slices of all tasks", Kind.COUNTER),
        Column("context_switches", "switches", "context switches", Kind.COUNTER),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._before: dict[str, int] | None = None

    def missing(self) -> Sequence[str]:
        if not (procfs.PROC / "schedstat").exists():
            return ("no /proc/schedstat (CONFIG_SCHEDSTATS)",)
        return ()

    def sample(self) -> Mapping[str, float]:
        stat = procfs.schedstat()
        now = {
            "run_delay_ns": stat.run_delay_ns,
            "timeslices": stat.timeslices,
            "context_switches": procfs.context_switches(),
        }
        if self._before is None:
            self._before = now
        return {name: value - self._before[name] for name, value in now.items()}


SAMPLER = SchedstatSampler
