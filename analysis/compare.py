# SPDX-License-Identifier: GPL-2.0-only
"""Test against control, paired by block: estimates, intervals, and which is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats
from analysis.load import Data
from analysis.measures import COMPARED, TIMES, number, plural, quantity
from experiments.model import CONTROL, TEST

BETTER, WORSE, UNCLEAR, NEUTRAL = "better", "worse", "unclear", "differs"


@dataclass(frozen=True)
class Group:
    """What is compared: one test variant with the control of its workload."""

    scheduler: str
    workload: str
    variant: str

    def __str__(self) -> str:
        return f" {TIMES} ".join((self.scheduler, self.workload, self.variant))


@dataclass(frozen=True)
class Comparison:
    """One metric of a test variant set against control.

    ``control`` and ``test`` are medians over all runs that are data. ``estimate`` is
    over the ``n_blocks`` blocks in which both are: their geometric mean of test/control
    when ``kind`` is "ratio", the mean of test - control in ``unit`` when it is
    "difference" (a value was not positive). ``ci_low`` and ``ci_high`` bound it at
    95 % and are None with fewer than 2 blocks. ``direction`` says what that interval
    means: "better", "worse", "differs" where neither is good, or "unclear".
    """

    scheduler: str
    workload: str
    variant: str
    metric: str
    unit: str
    source: str
    lower_is_better: bool | None
    n_control: int
    n_test: int
    n_blocks: int
    control: float
    test: float
    kind: str
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    direction: str

    @property
    def group(self) -> Group:
        return Group(self.scheduler, self.workload, self.variant)

    @property
    def null(self) -> float:
        """The estimate at which test and control are the same."""
        return 1.0 if self.kind == "ratio" else 0.0

    def sentence(self) -> str:
        """Test's median against control's, and the effect, in words."""
        test, control = (quantity(v, self.unit) for v in (self.test, self.control))
        over = plural(self.n_blocks, "block")
        return f"Test has {test} against {control}: {self.in_words()}, over {over}."

    def in_words(self) -> str:
        """For example `0.103 x control (95 % interval 0.0981 to 0.108)`."""
        if self.estimate is None:
            return "not comparable (no block has both)"
        text = number(self.estimate)
        if self.kind == "ratio":
            text += f" {TIMES} control"
        else:
            sign = "+ " if self.estimate >= 0 else ""
            text = f"control {sign}{quantity(self.estimate, self.unit)}"
        if self.ci_low is None:
            return f"{text} (one block, so no interval)"
        ends = f"{number(self.ci_low)} to {number(self.ci_high)}"
        return f"{text} (95 % interval {ends})"


def costs(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """What the workloads themselves say of the treatment, by their own metrics."""
    return [c for c in comparisons if c.source == "workload"]


def is_test(variant: str) -> bool:
    return variant == TEST or variant.startswith(f"{TEST}-")


def groups(data: Data) -> list[Group]:
    """Every test variant of the plan, in the order of the names."""
    keys = data.runs[["scheduler", "workload", "variant"]].drop_duplicates()
    found = [Group(*row) for row in keys.itertuples(index=False)]
    return sorted(
        (g for g in found if is_test(g.variant)),
        key=lambda g: (g.scheduler, g.workload, g.variant),
    )


def compare(
    data: Data, tidy: pd.DataFrame, measures: Sequence[str] = COMPARED
) -> list[Comparison]:
    """All comparisons of an experiment: workload metrics, and `measures` of the runs.

    `tidy` is that of per_run.tidy().
    """
    return [c for group in groups(data) for c in _of_group(group, tidy, measures)]


def _of_group(
    group: Group, tidy: pd.DataFrame, measures: Sequence[str]
) -> Iterator[Comparison]:
    here = tidy[
        (tidy["scheduler"] == group.scheduler) & (tidy["workload"] == group.workload)
    ]
    arms = here[here["variant"].isin([CONTROL, group.variant])]
    keep = (arms["source"] == "workload") | arms["metric"].isin(measures)
    keys = ["source", "metric", "unit"]
    for (source, metric, unit), rows in arms[keep].groupby(keys, sort=False):
        comparison = _one(group, str(source), str(metric), str(unit), rows)
        if comparison.n_control or comparison.n_test:
            yield comparison


def _one(
    group: Group, source: str, metric: str, unit: str, rows: pd.DataFrame
) -> Comparison:
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    arms = {v: rows[rows["variant"] == v] for v in (CONTROL, group.variant)}
    control, test = (stats.summarise(_values(arm)) for arm in arms.values())
    kind, n_blocks, interval = _paired(*arms.values())
    lower = rows["lower_is_better"].iloc[0] if len(rows) else None
    lower = None if lower is None or pd.isna(lower) else bool(lower)
    return Comparison(
        **vars(group),
        metric=metric,
        unit=unit,
        source=source,
        lower_is_better=lower,
        n_control=control.n,
        n_test=test.n,
        n_blocks=n_blocks,
        control=control.median,
        test=test.median,
        kind=kind,
        estimate=_or_none(interval.estimate),
        ci_low=_or_none(interval.low),
        ci_high=_or_none(interval.high),
        direction=_direction(interval, 1.0 if kind == "ratio" else 0.0, lower),
    )


def _values(rows: pd.DataFrame) -> stats.Array:
    return rows["value"].to_numpy(dtype=float)


def _paired(
    control: pd.DataFrame, test: pd.DataFrame
) -> tuple[str, int, stats.Interval]:
    """Kind, number of shared blocks, and the interval of test against control."""
    blocks = pd.concat(
        [a.groupby("block")["value"].mean() for a in (control, test)],
        axis=1,
        join="inner",
        keys=["control", "test"],
    )
    a, b = (blocks[c].to_numpy(dtype=float) for c in ("control", "test"))
    if len(blocks) and (a > 0).all() and (b > 0).all():
        return "ratio", len(blocks), stats.paired_ratio(a, b)
    return "difference", len(blocks), stats.paired_difference(a, b)


def _direction(interval: stats.Interval, null: float, lower: bool | None) -> str:
    if not (interval.low > null or interval.high < null):
        return UNCLEAR
    if lower is None:
        return NEUTRAL
    return BETTER if (interval.high < null) == lower else WORSE


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
