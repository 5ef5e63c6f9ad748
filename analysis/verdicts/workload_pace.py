# SPDX-License-Identifier: GPL-2.0-only
"""The claim about the workload itself: that the clean-up does not slow it down.

Judged by the first metric that the workload reports, which is the one it is run for.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.compare.effect import BETTER, EQUIVALENT, MARGIN, WORSE
from analysis.compare.within_experiment import Comparison, workload_effects

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


def judge_pace(of_group: Sequence[Comparison]) -> tuple[str, str]:
    """Return status and sentence from the comparisons of one test variant."""
    metrics = workload_effects(of_group)
    if not metrics:
        return UNDECIDED, "The workload reports no metric in any run that is data."
    first = metrics[0]
    said = f"{first.metric}: {first.sentence()[:-1]}"
    within = f"within {100 * MARGIN:.0f} % of control"
    if first.direction == EQUIVALENT or _is_inside(first):
        return EQUIVALENT, f"{said}: {within}."
    if first.direction == BETTER:
        return HOLDS, f"{said}: better."
    if first.direction == WORSE:
        return FAILS, f"{said}: worse."
    return UNDECIDED, f"{said}: neither better or worse, nor surely {within}."


def _is_inside(c: Comparison) -> bool:
    """Return whether all of the interval is so near to 1 that it does not matter."""
    if c.kind != "ratio" or c.ci_low is None or c.ci_high is None:
        return False
    return c.ci_low > 1 / (1 + MARGIN) and c.ci_high < 1 + MARGIN
