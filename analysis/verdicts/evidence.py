# SPDX-License-Identifier: GPL-2.0-only
"""What bears on the verdicts about one test variant, gathered in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.compare.effect import Group
from analysis.compare.within_experiment import Comparison
from analysis.load.frames import UNNEEDED, Data, is_imported
from analysis.stats import estimators
from experiments.model import CONTROL, Outcome


@dataclass(frozen=True)
class GroupEvidence:
    """All that bears on one group; `control` and `test` are rows of per_run()."""

    group: Group
    control: pd.DataFrame
    test: pd.DataFrame
    planned: pd.DataFrame
    effects: Mapping[tuple[str, str], Comparison]  # by source and metric
    retries: int
    is_proved: bool
    is_sequential: bool  # after every block, to see whether another is needed

    @property
    def max_entries(self) -> float:
        return estimators.largest(self.planned["max_entries"].to_numpy(dtype=float))


def gather(
    group: Group, data: Data, runs: pd.DataFrame, comparisons: Sequence[Comparison]
) -> GroupEvidence:
    def of(frame: pd.DataFrame, *variants: str) -> pd.DataFrame:
        here = frame["variant"].isin(variants)
        here &= frame["scheduler"] == group.scheduler
        return frame[here & (frame["workload"] == group.workload)]

    needed = data.runs[data.runs["outcome"] != UNNEEDED]
    keys = vars(group).items()
    return GroupEvidence(
        group=group,
        control=of(runs, CONTROL),
        test=of(runs, group.variant),
        planned=of(needed, CONTROL, group.variant),
        effects={
            (c.source, c.metric): c
            for c in comparisons
            if all(getattr(c, k) == v for k, v in keys)
        },
        retries=data.manifest.retries,
        is_proved=not is_imported(data.manifest),
        is_sequential=bool(data.manifest.config.get("until_decided")),
    )


def count_runs(e: GroupEvidence) -> str:
    """Return for example `control 3/3, test 2/3 (1 EJECTED)`."""
    parts = []
    for variant in (CONTROL, e.group.variant):
        arm = e.planned[e.planned["variant"] == variant]
        if arm.empty:
            parts.append(f"{variant} not planned")
            continue
        lost = Counter(map(str, arm["outcome"][~arm["used"]]))
        set_aside = lost.pop(Outcome.OK.value, 0)
        causes = [f"{n} {outcome}" for outcome, n in sorted(lost.items())]
        causes += [f"{set_aside} set aside"] if set_aside else []
        why = f" ({', '.join(causes)})" if causes else ""
        parts.append(f"{variant} {int(arm['used'].sum())}/{len(arm)}{why}")
    return ", ".join(parts)
