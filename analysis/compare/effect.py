# SPDX-License-Identifier: GPL-2.0-only
"""An effect on one metric, and what it means: what all comparisons have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.load.measures import TIMES, change, number, quantity
from analysis.stats.block_effect import FEWEST_BLOCKS

BETTER, WORSE, UNCLEAR, NEUTRAL = "better", "worse", "unclear", "differs"
EQUIVALENT = "equivalent"

#: A ratio between 1/(1 + MARGIN) and 1 + MARGIN counts as none.
MARGIN = 0.03


@dataclass(frozen=True)
class Group:
    """One variant of a scheduler under one workload."""

    scheduler: str
    workload: str
    variant: str

    def __str__(self) -> str:
        return f" {TIMES} ".join((self.scheduler, self.workload, self.variant))


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One metric of one variant, under one condition against another.

    ``estimate`` is a ratio when ``kind`` is "ratio", a difference in ``unit`` when it
    is "difference" (a value was not positive). ``ci_low`` and ``ci_high`` bound it.
    None is what is not known. ``p_adjusted`` is corrected for the ``family_size``
    tests it belongs to. ``direction`` says what that means: "better", "worse",
    "differs" where neither is good, "equivalent" within MARGIN, or "unclear".
    """

    scheduler: str
    workload: str
    variant: str
    metric: str
    unit: str
    source: str
    lower_is_better: bool | None
    kind: str
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    direction: str
    method: str = ""
    p_adjusted: float | None = None
    family_size: int = 0

    @property
    def group(self) -> Group:
        return Group(self.scheduler, self.workload, self.variant)

    def amount(self, value: float) -> str:
        """Return an effect of this metric: a change in per cent, or a difference."""
        if self.kind == "ratio":
            return f"{self.bare_amount(value)} %"
        return f"{'+' * (value >= 0)}{quantity(value, self.unit)}"

    def bare_amount(self, value: float) -> str:
        """Return an end of the interval, without its unit, exact enough to tell."""
        if self.kind != "ratio":
            return f"{'+' * (value >= 0)}{number(value)}"
        return change(value, (self.ci_low, self.ci_high))

    @property
    def null(self) -> float:
        """The estimate at which both conditions are the same."""
        return 1.0 if self.kind == "ratio" else 0.0


def direction(
    effect: Effect, n: int, is_step_known: bool, is_claimed: bool = True
) -> str:
    """Return what the interval of an effect says, from `n` blocks or runs of an arm.

    A difference too small to matter is none, but where costs or noise are measured and
    nothing is claimed.
    """
    if effect.ci_low is None or effect.ci_high is None or n < FEWEST_BLOCKS:
        return UNCLEAR
    is_nothing = effect.ci_low <= effect.null <= effect.ci_high
    is_inside = is_step_known and is_inside_margin(
        effect.kind, effect.ci_low, effect.ci_high
    )
    if is_inside and (is_claimed or is_nothing):
        return EQUIVALENT
    if is_nothing:
        return UNCLEAR
    if effect.lower_is_better is None:
        return NEUTRAL
    is_lower = effect.ci_high < effect.null
    return BETTER if is_lower == effect.lower_is_better else WORSE


def is_inside_margin(kind: str, low: float | None, high: float | None) -> bool:
    """Return whether an interval says that the effect is too small to matter."""
    if kind != "ratio" or low is None or high is None:
        return False
    return low > 1 / (1 + MARGIN) and high < 1 + MARGIN


def known(value: float) -> float | None:
    """Return `value`, or None for what is no number."""
    return float(value) if np.isfinite(value) else None


def preference(lower_is_better: object) -> bool | None:
    """Return a cell of that column of a tidy table; None where neither is better."""
    is_absent = lower_is_better is None or lower_is_better != lower_is_better
    return None if is_absent else bool(lower_is_better)
