# SPDX-License-Identifier: GPL-2.0-only
"""Test against control, paired by block: estimates, intervals, and which is better.

One rule and one number: what is said of a metric follows from the interval that is
printed with it. It differs from control if the interval leaves "no effect" out, it is
equivalent if all of the interval is within the margin, and with fewer than 3 blocks
nothing is said.

How wide an interval is depends on how many are looked at together (Bonferroni). The
first metric of a workload is the one it is run for, its *primary* one: over all
workloads, schedulers and variants of an experiment these are a family. The other
metrics of a workload, and the measures of the runs, are *exploratory*: those of one
variant on one workload are a family. The map's largest and mean number of entries are
the claim itself, which needs both, so neither is corrected (R. L. Berger,
"Multiparameter hypothesis testing and acceptance sampling", 1982).

Where it depended on what was seen how many blocks there are, intervals are those of
planned looks or of a confidence sequence. In a ledger or an A/A experiment, in which
nothing is claimed, they are single ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
)
from analysis.compare.exactness import blur_of_arms, step_of
from analysis.compare.looks import looking
from analysis.load.frames import Data
from analysis.load.measures import COMPARED, OF_SAMPLERS, number, plural, quantity
from analysis.stats import estimators
from analysis.stats.block_effect import BlockEffect, block_effect
from analysis.stats.looking import ANY_TIME, ONCE, PLANNED, Looking
from analysis.stats.significance import ALPHA
from experiments.model import CONTROL, DEFAULT

METHODS = {
    ONCE: "t",
    PLANNED: "group-sequential t",
    ANY_TIME: "confidence sequence",
}

#: What a metric is for: see the module.
PRIMARY, CLAIM, EXPLORATORY = "primary", "claim", "exploratory"
_CLAIMED = ("entries_max", "entries_mean")


@dataclass(frozen=True, kw_only=True)
class Comparison(Effect):
    """One metric of a test variant set against control.

    ``control`` and ``test`` are medians over all runs that are data. ``estimate`` is
    over the ``n_blocks`` blocks in which both are: their geometric mean of
    test/control, or the mean of test - control; ``control_mean`` is control's in these
    blocks, geometric for ratios. The interval at ``level`` is None where there is none:
    with fewer than 2 blocks, or when all blocks differ by the same; ``p_value`` and
    ``p_adjusted`` where there is no test. ``resolution`` is how far the estimate may be
    off because values are not exact, ``dependence`` the correlation of neighbouring
    blocks, where it is evident.
    """

    n_control: int
    n_test: int
    n_blocks: int
    control: float
    test: float
    control_mean: float | None = None
    role: str = EXPLORATORY
    level: float = 1 - ALPHA
    p_value: float | None = None
    family_size: int = 1
    resolution: float = 0.0
    dependence: float = 0.0

    def sentence(self) -> str:
        """Return the effect in words, against what control has.

        Of the same blocks, and for ratios as a geometric mean: a median beside it may
        say the opposite.
        """
        if self.control_mean is None:
            if np.isfinite(self.test) and np.isfinite(self.control):
                return "Not comparable, as no block has both."
            arm = "test" if np.isfinite(self.control) else "control"
            return f"Not comparable, as no {arm} run has it."
        control = quantity(self.control_mean, self.unit)
        over = plural(self.n_blocks, "block")
        return f"Against control's {control} test has {self.in_words()}, over {over}."

    def in_words(self) -> str:
        """Return for example `-89.7 % (95 % interval -90.2 to -89.2 %)`."""
        if self.estimate is None:
            return "not comparable, as no block has both"
        if self.ci_low is None or self.ci_high is None:
            return f"{self.amount(self.estimate)} ({self._why_no_interval()})"
        ends = f"{self.bare_amount(self.ci_low)} to {self.amount(self.ci_high)}"
        return f"{self.amount(self.estimate)} ({self.interval_name()} {ends})"

    def _why_no_interval(self) -> str:
        if self.n_blocks < 2:
            return f"no interval from {plural(self.n_blocks, 'block')}"
        return "no interval, as all blocks differ by the same"

    def interval_name(self) -> str:
        """Return what interval it is, as `95 % interval, corrected for 3,`."""
        is_any_time = self.method == METHODS[ANY_TIME]
        kind = METHODS[ANY_TIME] if is_any_time else "interval"
        if self.family_size == 1:
            return f"{number(100 * self.level)} % {kind}"
        return f"95 % {kind}, corrected for {self.family_size},"


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
    data: Data,
    tidy: pd.DataFrame,
    measures: Sequence[str] = COMPARED,
    primary: int | None = None,
) -> list[Comparison]:
    """Return all comparisons: workload metrics, and `measures` of the runs.

    `tidy` is that of tidy.tidy(); `primary` the size of the family of the primary
    metrics, by default one for each group of the plan.
    """
    planned = groups(data)
    drafts = [d for group in planned for d in _of_group(group, tidy, measures)]
    sizes = _family_sizes(data, drafts, primary or len(planned))
    how = looking(data)
    is_claimed = data.manifest.treatment == "cleanup"
    return [_judged(draft, sizes[draft.family], how, is_claimed) for draft in drafts]


class _Draft(NamedTuple):
    """A comparison that is yet to be judged, and its differences, one a block."""

    comparison: Comparison
    differences: estimators.Array
    blur: float
    is_step_known: bool

    @property
    def family(self) -> tuple[str, ...]:
        c = self.comparison
        if c.role == PRIMARY:
            return (PRIMARY,)
        return (c.role, c.scheduler, c.workload, c.variant, c.source)


def _family_sizes(
    data: Data, drafts: Sequence[_Draft], primary: int
) -> Mapping[tuple[str, ...], int]:
    sizes = Counter(draft.family for draft in drafts)
    nothing_is_claimed = data.manifest.treatment != "cleanup"
    for draft in drafts:
        role = draft.comparison.role
        if nothing_is_claimed or role == CLAIM:
            sizes[draft.family] = 1
        elif role == PRIMARY:
            sizes[draft.family] = primary
    return sizes


def _of_group(
    group: Group, tidy: pd.DataFrame, measures: Sequence[str]
) -> Iterator[_Draft]:
    here = tidy[
        (tidy["scheduler"] == group.scheduler) & (tidy["workload"] == group.workload)
    ]
    arms = here[here["variant"].isin([CONTROL, group.variant])]
    keep = (arms["source"] == "workload") | arms["metric"].isin(measures)
    keys = ["source", "metric", "unit"]
    primary = primary_metric(arms)
    for (source, metric, unit), rows in arms[keep].groupby(keys, sort=False):
        draft = _one(group, str(source), str(metric), str(unit), rows)
        c = draft.comparison
        if not (c.n_control or c.n_test):
            continue
        role = CLAIM if source == "samples" and metric in _CLAIMED else EXPLORATORY
        if source == "workload" and metric == primary:
            role = PRIMARY
        yield draft._replace(comparison=replace(c, role=role))


def primary_metric(rows: pd.DataFrame) -> str:
    """Return the metric that a workload is run for; empty where it has none.

    That is the first one in most of the runs, of those that are not a sampler's. `rows`
    are of a tidy table, those of a run in their order.
    """
    of = rows[rows["source"] == "workload"]
    of = of[~of["metric"].astype(str).str.startswith(OF_SAMPLERS)]
    if of.empty:
        return ""
    first = of.drop_duplicates(["variant", "run", "block"])["metric"]
    return str(first.value_counts(sort=True).index[0])


def _one(
    group: Group, source: str, metric: str, unit: str, rows: pd.DataFrame
) -> _Draft:
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    arms = {v: rows[rows["variant"] == v] for v in (CONTROL, group.variant)}
    control, test = (estimators.summarise(_values(arm)) for arm in arms.values())
    kind, differences, control_mean = _paired(*arms.values())
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
        control_mean=known(control_mean),
        kind=kind,
        estimate=None,
        ci_low=None,
        ci_high=None,
        direction=UNCLEAR,
    )
    step = step_of(rows)
    blur = blur_of_arms([_values(arm) for arm in arms.values()], step, kind)
    return _Draft(comparison, differences, blur, bool(np.isfinite(step)))


def _values(rows: pd.DataFrame) -> estimators.Array:
    return rows["value"].to_numpy(dtype=float)


def _paired(
    control: pd.DataFrame, test: pd.DataFrame
) -> tuple[str, estimators.Array, float]:
    """Return the kind of the comparison, its blocks' differences, control's mean.

    Of the blocks that have both, in their order. For ratios differences are those of
    the logarithms, and the mean is geometric.
    """
    blocks = pd.concat(
        [a.groupby("block")["value"].mean() for a in (control, test)],
        axis=1,
        join="inner",
        keys=["control", "test"],
    ).sort_index()
    a, b = (blocks[c].to_numpy(dtype=float) for c in ("control", "test"))
    if len(blocks) and (a > 0).all() and (b > 0).all():
        return "ratio", np.log(b / a), float(np.exp(np.mean(np.log(a))))
    return "difference", b - a, float(np.mean(a)) if len(a) else np.nan


# --- what the differences mean --------------------------------------------------------


def _judged(
    draft: _Draft, family_size: int, how: Looking, is_claimed: bool
) -> Comparison:
    level = 1 - ALPHA / family_size
    c = draft.comparison
    found = block_effect(draft.differences, level, how, draft.blur)
    shown = _shown(c.kind, found)
    p = known(found.p)
    judged = replace(
        c,
        estimate=shown[0],
        ci_low=shown[1],
        ci_high=shown[2],
        level=level,
        method=METHODS[how.kind] if found.is_known else "",
        p_value=p,
        p_adjusted=None if p is None else min(1.0, p * family_size),
        family_size=family_size,
        resolution=draft.blur,
        dependence=found.dependence,
    )
    said = direction(judged, judged.n_blocks, draft.is_step_known, is_claimed)
    return replace(judged, direction=said)


def _shown(kind: str, found: BlockEffect) -> tuple[float | None, ...]:
    """Return the estimate and its interval: ratios, or differences."""
    values = np.array(found[:3])
    estimate, low, high = map(known, np.exp(values) if kind == "ratio" else values)
    # Half an interval says nothing
    return (estimate, None, None) if None in (low, high) else (estimate, low, high)
