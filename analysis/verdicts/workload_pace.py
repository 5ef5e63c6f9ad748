# SPDX-License-Identifier: GPL-2.0-only
"""The claim about the workload itself: that the clean-up does not slow it down.

Judged by its primary metric, the one it is run for, and by one interval. The pace is
kept if all of that is better than MARGIN worse than control, it is not kept if all of
it is worse than that, and anything else is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.compare.effect import EQUIVALENT, MARGIN
from analysis.compare.within_experiment import PRIMARY, Comparison
from analysis.verdicts.reservations import too_few
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED, Judgement


def judge_pace(of_group: Sequence[Comparison]) -> Judgement:
    """Return status and sentence from the comparisons of one test variant."""
    found = [c for c in of_group if c.role == PRIMARY]
    if not found:
        return UNDECIDED, "The workload reports no metric in any run that is data."
    c = found[0]
    said = f"{c.metric}: {c.sentence()[:-1]}"
    if c.lower_is_better is None or c.kind != "ratio":
        return UNDECIDED, f"{said}: not a ratio of which more or less is better."
    if c.ci_low is None or c.ci_high is None:
        return UNDECIDED, f"{said}."
    if few := too_few(c.n_blocks):
        return UNDECIDED, f"{said}; {few}."
    percent = f"{100 * MARGIN:.0f} %"
    # As worsenings: a ratio above 1 is worse, whichever direction is good
    ends = sorted(v if c.lower_is_better else 1 / v for v in (c.ci_low, c.ci_high))
    if c.direction == EQUIVALENT:
        return EQUIVALENT, f"{said}: within {percent} of control."
    if ends[0] > 1 + MARGIN:
        return FAILS, f"{said}: worse by more than {percent}."
    if ends[1] >= 1 + MARGIN:
        return UNDECIDED, f"{said}: whether it is worse by more than {percent} is open."
    if ends[1] < 1:
        return HOLDS, f"{said}: better."
    if ends[0] > 1 / (1 + MARGIN):
        return UNDECIDED, f"{said}: how fine its values are is not known."
    return HOLDS, f"{said}: not worse by {percent}."
