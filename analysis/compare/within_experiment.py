# SPDX-License-Identifier: GPL-2.0-only
"""Test against control, paired by block: estimates, intervals, and which is better.

The metrics of a workload are a family: their p-values are corrected for their number
(Holm), and so are the measures of the runs among each other. What does not differ may
be equivalent: two one-sided tests at 5 % against a margin, which is a 90 % interval
inside it. Where the number of blocks depended on what was seen, intervals are those of
a confidence sequence, at a level divided by the size of the family (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.compare.effect import (
    UNCLEAR,
    Effect,
    Group,
    direction,
    known,
    preference,
    within_margin,
)
from analysis.load.frames import Data
from analysis.load.measures import COMPARED, TIMES, number, plural, quantity
from analysis.stats import estimators, significance
from analysis.stats.confidence_sequence import confidence_sequence
from experiments.model import CONTROL, DEFAULT

SEQUENTIAL = "confidence sequence"


@dataclass(frozen=True, kw_only=True)
class Comparison(Effect):
    """One metric of a test variant set against control.

    ``control`` and ``test`` are medians over all runs that are data. ``estimate`` is
    over the ``n_blocks`` blocks in which both are: their geometric mean of
    test/control, or the mean of test - control. The interval is None with fewer than 2
    blocks, ``p_value`` and ``p_adjusted`` where there is no test.
    """

    n_control: int
    n_test: int
    n_blocks: int
    control: float
    test: float
    p_value: float | None = None
    family_size: int = 1

    def sentence(self) -> str:
        """Return test's median against control's, and the effect, in words."""
        test, control = (quantity(v, self.unit) for v in (self.test, self.control))
        over = plural(self.n_blocks, "block")
        return f"Test has {test} against {control}: {self.in_words()}, over {over}."

    def in_words(self) -> str:
        """Return for example `0.103 x control (95 % interval 0.0981 to 0.108)`."""
        if self.estimate is None:
            return "not comparable (no block has both)"
        text = number(self.estimate)
        if self.kind == "ratio":
            text += f" {TIMES} control"
        else:
            sign = "+ " if self.estimate >= 0 else ""
            text = f"control {sign}{quantity(self.estimate, self.unit)}"
        if self.ci_low is None:
            return f"{text} (no interval from {plural(self.n_blocks, 'block')})"
        ends = f"{number(self.ci_low)} to {number(self.ci_high)}"
        return f"{text} (95 % interval {ends}{self._tested()})"

    def _tested(self) -> str:
        if self.method == SEQUENTIAL:
            return f", {SEQUENTIAL}"
        if self.p_adjusted is None:
            return ""
        p = (
            f"p = {number(self.p_adjusted, 2)}"
            if self.p_adjusted >= 1e-4
            else "p < 1e-4"
        )
        among = f" among {self.family_size}" if self.family_size > 1 else ""
        return f", {p}{among}, {self.method}"


def workload_effects(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return what the workloads' own metrics say of the treatment."""
    return [c for c in comparisons if c.source == "workload"]


def is_test(variant: str) -> bool:
    """Return whether a variant is set against control."""
    return variant not in (CONTROL, DEFAULT)


def groups(data: Data) -> list[Group]:
    """Return every test variant of the plan, in the order of the names."""
    keys = data.runs[["scheduler", "workload", "variant"]].drop_duplicates()
    found = [Group(*row) for row in keys.itertuples(index=False)]
    return sorted(
        (g for g in found if is_test(g.variant)),
        key=lambda g: (g.scheduler, g.workload, g.variant),
    )


def compare(
    data: Data, tidy: pd.DataFrame, measures: Sequence[str] = COMPARED
) -> list[Comparison]:
    """Return all comparisons: workload metrics, and `measures` of the runs.

    `tidy` is that of tidy.tidy().
    """
    is_sequential = bool(data.manifest.config.get("until_decided"))
    found = []
    for group in groups(data):
        drafts = list(_of_group(group, tidy, measures))
        for source in dict.fromkeys(draft.comparison.source for draft in drafts):
            family = [d for d in drafts if d.comparison.source == source]
            found += _sequential(family) if is_sequential else _tested(family)
    return found


class _Draft(NamedTuple):
    """A comparison that is yet to be judged, and its differences, one a block."""

    comparison: Comparison
    differences: estimators.Array


def _of_group(
    group: Group, tidy: pd.DataFrame, measures: Sequence[str]
) -> Iterator[_Draft]:
    here = tidy[
        (tidy["scheduler"] == group.scheduler) & (tidy["workload"] == group.workload)
    ]
    arms = here[here["variant"].isin([CONTROL, group.variant])]
    keep = (arms["source"] == "workload") | arms["metric"].isin(measures)
    keys = ["source", "metric", "unit"]
    for (source, metric, unit), rows in arms[keep].groupby(keys, sort=False):
        draft = _one(group, str(source), str(metric), str(unit), rows)
        if draft.comparison.n_control or draft.comparison.n_test:
            yield draft


def _one(
    group: Group, source: str, metric: str, unit: str, rows: pd.DataFrame
) -> _Draft:
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    arms = {v: rows[rows["variant"] == v] for v in (CONTROL, group.variant)}
    control, test = (estimators.summarise(_values(arm)) for arm in arms.values())
    kind, differences = _paired(*arms.values())
    interval = _interval(kind, estimators.t_interval(differences))
    lower = rows["lower_is_better"].iloc[0] if len(rows) else None
    comparison = Comparison(
        **vars(group),
        metric=metric,
        unit=unit,
        source=source,
        lower_is_better=preference(lower),
        n_control=control.n,
        n_test=test.n,
        n_blocks=len(differences),
        control=control.median,
        test=test.median,
        kind=kind,
        estimate=known(interval.estimate),
        ci_low=known(interval.low),
        ci_high=known(interval.high),
        direction=UNCLEAR,
    )
    return _Draft(comparison, differences)


def _values(rows: pd.DataFrame) -> estimators.Array:
    return rows["value"].to_numpy(dtype=float)


def _paired(control: pd.DataFrame, test: pd.DataFrame) -> tuple[str, estimators.Array]:
    """Return the kind of the comparison, and the differences of its blocks.

    Of the blocks that have both.

    For ratios they are those of the logarithms.
    """
    blocks = pd.concat(
        [a.groupby("block")["value"].mean() for a in (control, test)],
        axis=1,
        join="inner",
        keys=["control", "test"],
    )
    a, b = (blocks[c].to_numpy(dtype=float) for c in ("control", "test"))
    if len(blocks) and (a > 0).all() and (b > 0).all():
        return "ratio", np.log(b / a)
    return "difference", b - a


def _interval(kind: str, interval: estimators.Interval) -> estimators.Interval:
    """Turn an interval of differences into one of what they are differences of."""
    return estimators.Interval(*np.exp(interval)) if kind == "ratio" else interval


# --- what the differences mean --------------------------------------------------------


def _tested(family: Sequence[_Draft]) -> list[Comparison]:
    tests = significance.family([draft.differences for draft in family])
    size = sum(np.isfinite(test.p) for test in tests)
    return [
        replace(
            draft.comparison,
            method=test.method,
            p_value=known(test.p),
            p_adjusted=known(test.adjusted),
            family_size=int(size),
            direction=_direction(draft, test.adjusted <= significance.ALPHA),
        )
        for draft, test in zip(family, tests, strict=True)
    ]


def _sequential(family: Sequence[_Draft]) -> list[Comparison]:
    return [_sequential_comparison(draft, len(family)) for draft in family]


def _sequential_comparison(draft: _Draft, family_size: int) -> Comparison:
    level = 1 - significance.ALPHA / family_size
    found = confidence_sequence(draft.differences, level)
    differs = found.low > 0 or found.high < 0
    shown = _interval(draft.comparison.kind, found)
    return replace(
        draft.comparison,
        method=SEQUENTIAL,
        ci_low=known(shown.low),
        ci_high=known(shown.high),
        family_size=family_size,
        direction=_direction(draft, differs, (found.low, found.high)),
    )


def _direction(
    draft: _Draft, differs: bool, ends: tuple[float, float] | None = None
) -> str:
    """Return `ends` of the interval to hold against the margin; by default 90 %."""
    is_lower = bool(draft.differences.mean() < 0) if len(draft.differences) else False
    return direction(
        draft.comparison.lower_is_better,
        differs,
        is_lower,
        not differs and _is_equivalent(draft, ends),
    )


def _is_equivalent(draft: _Draft, ends: tuple[float, float] | None) -> bool:
    if len(draft.differences) < 2:
        return False
    low, high = ends or estimators.t_interval(draft.differences, level=0.90)[1:]
    return within_margin(draft.comparison.kind, low, high)
