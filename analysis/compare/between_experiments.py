# SPDX-License-Identifier: GPL-2.0-only
"""Two experiments set against each other: the same variants, on two kernels say.

Runs of two experiments share no block, so this is unpaired: the ratio of geometric
means, B to A, with Welch's t interval of the logarithms. The metrics of a variant on a
workload are a family. What differs between the machines or the hours of the two
experiments looks as an effect here, which is why their facts are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.compare.effect import (
    EQUIVALENT,
    UNCLEAR,
    Effect,
    direction,
    known,
    preference,
)
from analysis.compare.exactness import blur_of_arms, step_of
from analysis.compare.missing_evidence import ArmPair, Missing, missing, pairs
from analysis.load.arm_outcomes import ARM, arm_outcomes
from analysis.load.flat_facts import flat
from analysis.load.frames import load
from analysis.load.tidy import per_run, tidy
from analysis.stats import estimators, significance
from experiments.store.experiment import Experiment
from experiments.store.schema import Manifest

#: Measures of the runs that are compared beside the metrics of the workload.
MEASURES = ("entries_max", "growth_entries_per_s")

#: Facts that differ between any two experiments, and say nothing about either.
_FLEETING = ("host.load_1min",)

_METRIC = ["source", "metric", "unit"]


@dataclass(frozen=True, kw_only=True)
class MetricChange(Effect):
    """One metric of a variant in B against the same in A.

    ``a`` and ``b`` are medians of the ``n_a`` and ``n_b`` runs that are data.
    ``estimate`` is B/A, or B - A.
    """

    n_a: int
    n_b: int
    a: float | None
    b: float | None

    @property
    def arm(self) -> str:
        return str(self.group)


@dataclass(frozen=True)
class Versus:
    """All changes from A to B; names of experiments, and facts that differ.

    ``arms`` are all arms of either, ``missing`` what of A's is not there to compare.
    """

    a: str
    b: str
    changes: tuple[MetricChange, ...]
    facts: Mapping[str, tuple[str, str]]
    arms: tuple[ArmPair, ...]
    missing: tuple[Missing, ...]


def versus(a: Experiment, b: Experiment) -> Versus:
    """Read both and compare what they have in common.

    Raises FormatError when a manifest cannot be read.
    """
    of_a, of_b = load(a), load(b)
    tables = [_compared(tidy(d, per_run(d), MEASURES)) for d in (of_a, of_b)]
    arms = pairs(arm_outcomes(of_a.runs), arm_outcomes(of_b.runs))
    return Versus(
        a=a.path.name,
        b=b.path.name,
        changes=tuple(changes(*tables)),
        facts=differing_facts(of_a.manifest, of_b.manifest),
        arms=arms,
        missing=tuple(missing(arms, *tables)),
    )


# --- facts ----------------------------------------------------------------------------


def differing_facts(a: Manifest, b: Manifest) -> dict[str, tuple[str, str]]:
    """Return facts of machine, kernel and settings that differ."""
    of_a, of_b = (_in_words({**m.facts, "config": m.config}) for m in (a, b))
    names = [*of_a, *(name for name in of_b if name not in of_a)]
    both = {n: (of_a.get(n, "absent"), of_b.get(n, "absent")) for n in names}
    return {n: v for n, v in both.items() if v[0] != v[1] and n not in _FLEETING}


def _in_words(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in flat(facts)}


# --- changes --------------------------------------------------------------------------


class _Draft(NamedTuple):
    """A change that is yet to be judged, and the values it is one of."""

    change: MetricChange
    a: estimators.Array
    b: estimators.Array
    blur: float
    step: float


def changes(a: pd.DataFrame, b: pd.DataFrame) -> list[MetricChange]:
    """Return the change of every variant and metric that both tidy tables have."""
    by_arm = [dict(list(t.groupby(ARM, sort=True))) for t in (a, b)]
    found = []
    for arm in by_arm[0].keys() & by_arm[1].keys():
        drafts = list(_of_arm(*(tables[arm] for tables in by_arm)))
        found += _judged(drafts)
    return sorted(found, key=lambda c: (c.scheduler, c.workload, c.variant))


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    keep = (table["source"] == "workload") | table["metric"].isin(MEASURES)
    kept: pd.DataFrame = table[keep & table["value"].notna()]
    return kept


def _of_arm(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[_Draft]:
    of_a, of_b = (dict(list(t.groupby(_METRIC, sort=False))) for t in (a, b))
    for key, rows in of_a.items():
        if key in of_b:
            yield _draft(rows, of_b[key])


def _draft(rows_a: pd.DataFrame, rows_b: pd.DataFrame) -> _Draft:
    a, b = (rows["value"].to_numpy(dtype=float) for rows in (rows_a, rows_b))
    is_ratio = bool((a > 0).all() and (b > 0).all())
    kind = "ratio" if is_ratio else "difference"
    at_a, at_b = (np.log(a), np.log(b)) if is_ratio else (a, b)
    first = {k: str(rows_a[k].iloc[0]) for k in (*ARM, *_METRIC)}
    lower = rows_a["lower_is_better"].iloc[0]
    change = MetricChange(
        scheduler=first["scheduler"],
        workload=first["workload"],
        variant=first["variant"],
        metric=first["metric"],
        unit=first["unit"],
        source=first["source"],
        lower_is_better=preference(lower),
        n_a=len(a),
        n_b=len(b),
        a=known(estimators.summarise(a).median),
        b=known(estimators.summarise(b).median),
        kind=kind,
        estimate=None,
        ci_low=None,
        ci_high=None,
        direction=UNCLEAR,
    )
    step = step_of(pd.concat([rows_a, rows_b]))
    return _Draft(change, at_a, at_b, blur_of_arms([a, b], step, kind), step)


def _judged(drafts: list[_Draft]) -> list[MetricChange]:
    tests = significance.unpaired_family([(d.a, d.b) for d in drafts])
    size = sum(np.isfinite(test.p) for test in tests)
    return [
        _of_test(draft, test, int(size))
        for draft, test in zip(drafts, tests, strict=True)
    ]


def _of_test(
    draft: _Draft, test: significance.SignificanceTest, family_size: int
) -> MetricChange:
    """Return the change: it is one where test and interval both say so."""
    estimate, low, high = _interval(draft)
    change = replace(
        draft.change,
        estimate=estimate,
        ci_low=low,
        ci_high=high,
        method=test.method,
        p_adjusted=known(test.adjusted),
        family_size=family_size,
    )
    n = min(change.n_a, change.n_b)
    said = direction(change, n, bool(np.isfinite(draft.step)))
    if said not in (UNCLEAR, EQUIVALENT) and not test.adjusted <= significance.ALPHA:
        said = UNCLEAR
    return replace(change, direction=said)


def _interval(draft: _Draft) -> tuple[float | None, ...]:
    """Return the estimate and its interval, None where no run differs from another."""
    found = np.array(estimators.welch_interval(draft.a, draft.b))
    has_spread = any(len(arm) and np.ptp(arm) > 0 for arm in (draft.a, draft.b))
    found += [0, -draft.blur, draft.blur]
    estimate, low, high = np.exp(found) if draft.change.kind == "ratio" else found
    if not has_spread or not np.isfinite([low, high]).all():
        return known(float(estimate)), None, None
    return known(float(estimate)), known(float(low)), known(float(high))
