# SPDX-License-Identifier: GPL-2.0-only
"""Whether a change is a regression, by rules that a pipeline can stop at.

A metric has **regressed** when all of this is so: its ratio B/A is worse than the
threshold, p after Holm's correction is at most 5 %, and the 95 % interval leaves "no
change" out on the worse side. It has **not** when the whole interval is on the better
side of the threshold. Anything else is undecided, and so is what has no ratio, of
which a threshold in per cent says nothing, unless it is worse by its difference: a
throughput of 0 has no ratio.

What is missing (an arm, most of its runs, a metric, its unit) fails the gate as a
regression does. What is undecided passes it unless that is asked for, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from analysis.compare.between_experiments import MetricChange
from analysis.compare.effect import WORSE
from analysis.stats.significance import ALPHA
from experiments.errors import ConfigError

REGRESSED, NO_REGRESSION, UNDECIDED = "regressed", "no regression", "undecided"

_RULE = re.compile(r"regression=(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Rules:
    """What a comparison is stopped at: a worsening by ``share``; what is undecided."""

    share: float
    undecided: bool = False


def rules(text: str) -> Rules:
    """Return the rules in, for example, `regression=3%` or `regression=3%,undecided`.

    Raises ConfigError when there is anything else, or no threshold below 100 %.
    """
    words = [word.strip() for word in text.split(",")]
    shares = [_RULE.fullmatch(word) for word in words if word != UNDECIDED]
    if len(shares) != 1 or shares[0] is None:
        raise ConfigError(
            f"--fail-on: {text!r} is no rule; such are regression=3%, and "
            "regression=3%,undecided"
        )
    share = float(shares[0][1]) / 100
    if share >= 1:
        raise ConfigError(f"--fail-on: {text!r}: the threshold has to be below 100 %")
    return Rules(share, UNDECIDED in words)


def judge(change: MetricChange, share: float) -> str:
    """Return REGRESSED, NO_REGRESSION or UNDECIDED, with a threshold of `share`.

    A worsening by 3 % is a ratio of 1.03 where lower is better, of 0.97 where
    higher.
    """
    lower = change.lower_is_better
    if change.kind != "ratio" and change.direction == WORSE:
        return REGRESSED  # to 0, say, which is more than any per cent
    ends = (change.estimate, change.ci_low, change.ci_high)
    if change.kind != "ratio" or lower is None or None in ends:
        return UNDECIDED
    # As worsenings: above 0 is worse, whichever direction is good
    worse = [(e - 1) * (1 if lower else -1) for e in ends if e is not None]
    estimate, near, far = worse[0], min(worse[1:]), max(worse[1:])
    if far < share:
        return NO_REGRESSION
    is_there = change.p_adjusted is not None and change.p_adjusted <= ALPHA
    return REGRESSED if estimate > share and is_there and near > 0 else UNDECIDED
