# SPDX-License-Identifier: GPL-2.0-only
"""What one experiment has and the other lacks: an arm, most of its runs, a metric.

What is missing has not got better. A change that makes every run crash leaves no metric
to compare, so a gate that only looks at metrics would pass it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.compare.effect import Group
from analysis.load.arm_outcomes import NOTHING, Arm, ArmOutcomes

#: An arm speaks for itself when at least so much of its plan is data.
LEAST_SHARE = 0.5
#: So large a share of an arm's attempts may be lost before the others are survivors.
FEW_LOST = 0.05


@dataclass(frozen=True)
class ArmPair:
    """The outcomes of an arm in A and in B."""

    scheduler: str
    workload: str
    variant: str
    a: ArmOutcomes
    b: ArmOutcomes

    @property
    def key(self) -> Arm:
        return self.scheduler, self.workload, self.variant

    def __str__(self) -> str:
        return str(Group(*self.key))


@dataclass(frozen=True)
class Missing:
    """An arm, and what of it cannot be compared."""

    arm: str
    what: str

    def __str__(self) -> str:
        return f"{self.arm}: {self.what}"


def pairs(
    a: Mapping[Arm, ArmOutcomes], b: Mapping[Arm, ArmOutcomes]
) -> tuple[ArmPair, ...]:
    """Return the arms of both, in the order of their names."""
    return tuple(
        ArmPair(*key, a.get(key, NOTHING), b.get(key, NOTHING))
        for key in sorted({*a, *b})
    )


def missing(
    arms: tuple[ArmPair, ...], a: pd.DataFrame, b: pd.DataFrame
) -> Iterator[Missing]:
    """Yield what cannot be compared; `a` and `b` are tidy tables of both.

    An arm that B has and A has not is new, and nothing is missing.
    """
    for arm in arms:
        if not arm.a.planned:
            continue
        runs = list(_missing_runs(arm))
        yield from (Missing(str(arm), what) for what in runs)
        if arm.a.used and arm.b.used:
            metrics = (_metrics(table, arm.key) for table in (a, b))
            yield from (Missing(str(arm), what) for what in _missing_metrics(*metrics))


def _missing_runs(arm: ArmPair) -> Iterator[str]:
    if not arm.b.planned:
        yield "B has no such arm"
        return
    for name, outcomes in (("A", arm.a), ("B", arm.b)):
        if outcomes.used < LEAST_SHARE * outcomes.planned:
            yield f"of {name} only {outcomes} runs are data"
        elif outcomes.pending:
            yield f"{outcomes.pending} runs of {name} are still to come"
    if _loses_more(arm):
        yield f"of B {arm.b} runs are data, of A {arm.a}: what is left are survivors"


def _loses_more(arm: ArmPair) -> bool:
    """Return whether B lost more than a few attempts, and a larger share than A."""
    is_left = arm.b.used >= LEAST_SHARE * arm.b.planned
    a, b = ((o.failures, o.attempts) for o in (arm.a, arm.b))
    return is_left and loses_more(a, b)


def loses_more(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether the other loses more than a few, and a larger share than the one.

    Of each how many attempts were lost, and of how many.
    """
    shares = [lost / max(attempts, 1) for lost, attempts in (one, other)]
    return shares[1] > max(FEW_LOST, shares[0])


_Metrics = Mapping[tuple[str, str], tuple[set[str], int]]


def _metrics(table: pd.DataFrame, key: Arm) -> _Metrics:
    """Return the units of each metric of an arm, and how many runs have it."""
    of = table[
        (table["scheduler"] == key[0])
        & (table["workload"] == key[1])
        & (table["variant"] == key[2])
    ]
    found = {}
    for (source, metric), rows in of.groupby(["source", "metric"], sort=False):
        found[str(source), str(metric)] = set(map(str, rows["unit"])), len(rows)
    return found


def _missing_metrics(a: _Metrics, b: _Metrics) -> Iterator[str]:
    for (source, metric), (units, runs) in a.items():
        units_b, runs_b = b.get((source, metric), (set[str](), 0))
        if not runs_b:
            yield f"{metric} is not in B"
        elif units != units_b:
            yield f"{metric} is in {_listed(units)} in A, in {_listed(units_b)} in B"
        elif runs_b < LEAST_SHARE * runs:
            yield f"{metric} is in {runs_b} runs of B, in {runs} of A"


def _listed(units: set[str]) -> str:
    return " and ".join(sorted(unit or "no unit" for unit in units))
