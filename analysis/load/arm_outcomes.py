# SPDX-License-Identifier: GPL-2.0-only
"""How the planned runs of an arm ended: what is data, and what became of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.load.frames import PENDING, UNNEEDED
from experiments.model import Outcome

ARM = ["scheduler", "workload", "variant"]

#: An arm is a scheduler, a workload and a variant.
Arm = tuple[str, str, str]


@dataclass(frozen=True)
class ArmOutcomes:
    """Runs of an arm: planned, without those nobody needs; those that are data.

    ``others`` counts the rest by outcome; `set aside` are OK runs that are corrupt.
    ``lost_attempts`` ended LOST and were done again.
    """

    planned: int
    used: int
    others: Mapping[str, int]
    lost_attempts: int = 0

    @property
    def pending(self) -> int:
        return self.others.get(PENDING, 0)

    @property
    def failures(self) -> int:
        """Runs that are no data, whatever the reason, and attempts that were repeated.

        But for those that were skipped, which tried nothing.
        """
        excused = {PENDING, Outcome.SKIPPED.value}
        ended = sum(n for outcome, n in self.others.items() if outcome not in excused)
        return ended + self.lost_attempts

    @property
    def attempts(self) -> int:
        """All that came to an end, however."""
        return self.used + self.failures

    def __str__(self) -> str:
        """Return for example `2/3 (1 EJECTED)`."""
        causes = [f"{n} {outcome}" for outcome, n in sorted(self.others.items())]
        if self.lost_attempts:
            causes.append(f"{self.lost_attempts} LOST and repeated")
        why = f" ({', '.join(causes)})" if causes else ""
        return f"{self.used}/{self.planned}{why}"


SET_ASIDE = "set aside"
NOTHING = ArmOutcomes(0, 0, {})


def arm_outcomes(runs: pd.DataFrame) -> dict[Arm, ArmOutcomes]:
    """Return the outcomes of every arm; `runs` are Data.runs."""
    needed = runs[runs["outcome"] != UNNEEDED]
    return {
        (str(key[0]), str(key[1]), str(key[2])): _of_arm(arm)
        for key, arm in needed.groupby(ARM, sort=True)
    }


def _of_arm(arm: pd.DataFrame) -> ArmOutcomes:
    others = Counter(map(str, arm["outcome"][~arm["used"].astype(bool)]))
    if set_aside := others.pop(Outcome.OK.value, 0):
        others[SET_ASIDE] = set_aside
    return ArmOutcomes(
        planned=len(arm),
        used=int(arm["used"].sum()),
        others=dict(others),
        lost_attempts=int(arm["lost_attempts"].sum()),
    )
