# SPDX-License-Identifier: GPL-2.0-only
"""What bears on the verdicts about one test variant, gathered in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.compare.effect import Group
from analysis.compare.looks import earlier_looks, looking
from analysis.compare.within_experiment import Comparison, groups
from analysis.load.arm_outcomes import ARM, NOTHING, ArmOutcomes, arm_outcomes
from analysis.load.frames import Data, imported_facts, is_imported
from analysis.stats import estimators
from analysis.stats.looking import Looking
from analysis.verdicts.starvation import starvation
from experiments.model import CONTROL


@dataclass(frozen=True)
class GroupEvidence:
    """All that bears on one group; `control` and `test` are rows of per_run().

    ``outcomes`` are those of control and of test. ``unattributed`` attempts were lost
    of which nobody recorded the arm. ``looks`` are the numbers of runs after which the
    results were looked at before. ``starved`` says which tasks starved under test. Of
    imported runs, ``no_information`` are the columns
    of each variant that are 0 throughout, and ``kernel_logs`` counts what the logs of
    the whole experiment record of schedulers.
    """

    group: Group
    control: pd.DataFrame
    test: pd.DataFrame
    outcomes: tuple[ArmOutcomes, ArmOutcomes]
    effects: Mapping[tuple[str, str], Comparison]  # by source and metric
    unattributed: int
    is_proved: bool
    looking: Looking
    looks: Sequence[int] = ()
    starved: str = ""
    no_information: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kernel_logs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_entries(self) -> float:
        limits = pd.concat([self.control["map_limit"], self.test["map_limit"]])
        return estimators.largest(limits.to_numpy(dtype=float))


def gather(
    data: Data, runs: pd.DataFrame, comparisons: Sequence[Comparison]
) -> Iterator[GroupEvidence]:
    """Yield the evidence about each group; `runs` is tidy.per_run()."""
    outcomes = arm_outcomes(data.runs)
    arms = dict(list(runs.groupby(ARM, sort=False)))
    effects: dict[Group, dict[tuple[str, str], Comparison]] = {}
    for c in comparisons:
        effects.setdefault(c.group, {})[c.source, c.metric] = c
    unattributed = data.manifest.retries - int(data.runs["lost_attempts"].sum())
    is_proved, how = not is_imported(data.manifest), looking(data)
    looks = earlier_looks(data)
    imported = imported_facts(data.manifest)
    for group in groups(data):
        control = group.scheduler, group.workload, CONTROL
        test = group.scheduler, group.workload, group.variant
        yield GroupEvidence(
            group=group,
            control=arms.get(control, runs[:0]),
            test=arms.get(test, runs[:0]),
            outcomes=(outcomes.get(control, NOTHING), outcomes.get(test, NOTHING)),
            effects=effects.get(group, {}),
            unattributed=max(0, unattributed),
            is_proved=is_proved,
            looking=how,
            looks=looks,
            starved=starvation(data, group),
            no_information=_no_information(imported, group),
            kernel_logs=imported.get("kernel_logs", {}),
        )


def _no_information(
    imported: Mapping[str, Any], group: Group
) -> Mapping[str, frozenset[str]]:
    return {
        str(arm["variant"]): frozenset(map(str, arm["columns"]))
        for arm in imported.get("no_information", ())
        if (arm["scheduler"], arm["workload"]) == (group.scheduler, group.workload)
    }


def column(frame: pd.DataFrame, name: str) -> estimators.Array:
    """Return a column of per_run() as numbers."""
    return frame[name].to_numpy(dtype=float)


def count_runs(e: GroupEvidence) -> str:
    """Return for example `control 3/3, test 2/3 (1 EJECTED)`."""
    names = CONTROL, e.group.variant
    return ", ".join(
        f"{name} {arm}" if arm.planned else f"{name} not planned"
        for name, arm in zip(names, e.outcomes, strict=True)
    )
