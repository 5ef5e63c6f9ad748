# SPDX-License-Identifier: GPL-2.0-only
"""Whether memory follows the map: only then is memory what its entries cost."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.load.measures import TIMES, plural
from analysis.stats.estimators import present
from experiments.model import CONTROL

#: From this correlation on, memory is said to follow the map.
CLOSE = 0.9


@dataclass(frozen=True)
class Memory:
    """BPF slab memory against map entries, over the samples of each control run.

    ``r``: the Pearson correlations of the runs in which both changed; ``n_runs``: all
    control runs that are data.
    """

    scheduler: str
    workload: str
    r: tuple[float, ...]
    n_runs: int

    @property
    def where(self) -> str:
        return f"{self.scheduler} {TIMES} {self.workload}"

    def sentence(self) -> str:
        if not self.r:
            over = plural(self.n_runs, "control run")
            return (
                "Whether memory follows the map is not known: entries or memory "
                f"were constant or not read in {over}."
            )
        middle = float(pd.Series(self.r).median())
        verb = "follows" if middle >= CLOSE else "does not follow"
        over = plural(len(self.r), "control run")
        if len(self.r) > 1:
            over = f"median of {over}, least {min(self.r):.3f}"
        said = f"Memory {verb} the map: r = {middle:.3f} ({over})"
        missing = self.n_runs - len(self.r)
        return f"{said}; not known in {missing}." if missing else f"{said}."


def memory(runs: pd.DataFrame) -> list[Memory]:
    """Return one for each scheduler x workload with control runs.

    `runs` is per_run().
    """
    control = runs[runs["variant"] == CONTROL]
    found = []
    for (scheduler, workload), of in control.groupby(["scheduler", "workload"]):
        (r,) = present(of["memory_map_r"].to_numpy(dtype=float))
        found.append(Memory(str(scheduler), str(workload), tuple(r.tolist()), len(of)))
    return found
