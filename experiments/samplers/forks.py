# SPDX-License-Identifier: GPL-2.0-only
"""Tasks created and tasks gone since the first sample, by anybody on this kernel.

From /proc alone: what was created and is not there has exited. The two numbers behind
it are read one after the other, so exits are off by what comes or goes in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.columns import Column, Kind
from experiments.kernel import procfs
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


class ForksSampler(Sampler):
    name = "forks"
    columns = (
        Column("forks", "tasks", "tasks created by anybody", Kind.COUNTER),
        Column("exits", "tasks", "tasks that exited", Kind.COUNTER),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._before: tuple[int, int] | None = None
        self._loaded = procfs.forks(), procfs.tasks()

    def missing(self) -> Sequence[str]:
        return ()

    def exits(self) -> int:
        """Return the tasks that exited since the scheduler was loaded, about."""
        forks, tasks = procfs.forks(), procfs.tasks()
        return max(0, forks - self._loaded[0] - (tasks - self._loaded[1]))

    def sample(self) -> Mapping[str, float]:
        now = procfs.forks(), procfs.tasks()
        if self._before is None:
            self._before = now
        forks = now[0] - self._before[0]
        return {"forks": forks, "exits": max(0, forks - (now[1] - self._before[1]))}


SAMPLER = ForksSampler
