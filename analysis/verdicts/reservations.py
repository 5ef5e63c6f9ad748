# SPDX-License-Identifier: GPL-2.0-only
"""What keeps a claim from being made, whatever its numbers say; and what it adds.

Missing runs are no runs that were well. A claim from two blocks, or one that rests on
the survivors of an arm that crashed more than the other, is undecided.
"""

from __future__ import annotations

from analysis.load.measures import number, plural
from analysis.stats.block_effect import FEWEST_BLOCKS
from analysis.verdicts.evidence import GroupEvidence

#: So large a share of an arm's attempts may have been lost, if it lost more than the
#: other: at worst, runs as bad as they get would be so many of a larger number.
FEW_LOST = 0.05


def too_few(blocks: int) -> str:
    """Return why so many blocks decide nothing; empty where they may."""
    if blocks >= FEWEST_BLOCKS:
        return ""
    return (
        f"{plural(blocks, 'block')} decide{'s' * (blocks == 1)} nothing: "
        f"a claim needs {FEWEST_BLOCKS}"
    )


def survivors(e: GroupEvidence) -> str:
    """Return why the runs that are left cannot speak for their arm; empty if they can.

    Runs that are slow, or whose map grows, may be the ones that crash: where test lost
    more of its runs than control did, the others look better than the arm is.
    """
    control, test = e.outcomes
    lost, attempts = test.failures + e.unattributed, test.attempts + e.unattributed
    share = lost / max(attempts, 1)
    if share <= max(FEW_LOST, control.failures / max(control.attempts, 1)):
        return ""
    return (
        f"this rests on the survivors: of {plural(attempts, 'attempt')} at test's runs "
        f"{lost} failed, of {control.attempts} at control's {control.failures}"
    )


def remarks(e: GroupEvidence) -> list[str]:
    """Return what every verdict of a group says besides."""
    found = []
    pending = sum(arm.pending for arm in e.outcomes)
    planned = sum(arm.planned for arm in e.outcomes)
    if pending:
        found.append(
            f"Provisional: {planned - pending} of {plural(planned, 'run')} are done."
        )
    if e.looks:
        found.append(
            "The intervals are those of a confidence sequence, as the results were "
            f"looked at before, after {', '.join(map(number, e.looks))} runs."
        )
    return found
