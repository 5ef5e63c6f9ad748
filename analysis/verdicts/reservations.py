# SPDX-License-Identifier: GPL-2.0-only
"""What keeps a claim from being made, whatever its numbers say; and what it adds.

Missing runs are no runs that were well. A claim from two blocks, or one that rests on
the survivors of an arm that crashed more than the other, is undecided.
"""

from __future__ import annotations

from analysis.compare.missing_evidence import loses_more
from analysis.load.arm_outcomes import ArmOutcomes
from analysis.load.measures import number, plural
from analysis.stats.block_effect import FEWEST_BLOCKS
from analysis.verdicts.evidence import GroupEvidence


def too_few(blocks: int) -> str:
    """Return why so many blocks decide nothing; empty where they may."""
    if blocks >= FEWEST_BLOCKS:
        return ""
    return (
        f"{plural(blocks, 'block')} decide{'s' * (blocks == 1)} nothing: "
        f"a claim needs {FEWEST_BLOCKS}"
    )


def survivors(e: GroupEvidence, present: tuple[int, int]) -> str:
    """Return why what is left cannot speak for its arm; empty if it can.

    Runs that are slow, or whose map grows, may be the ones that crash, or of which a
    number is missing: where test has lost more of its own than control, the others look
    better than the arm is. `present` are the runs of control and of test that have what
    is judged.
    """
    control, test = (
        _lost(arm, there) for arm, there in zip(e.outcomes, present, strict=True)
    )
    lost, attempts = test[0] + e.unattributed, test[1] + e.unattributed
    if not loses_more(control, (lost, attempts)):
        return ""
    return (
        f"this rests on the survivors: of {plural(attempts, 'attempt')} at test's runs "
        f"{lost} yielded nothing to judge by, of {control[1]} at control's {control[0]}"
    )


def _lost(arm: ArmOutcomes, present: int) -> tuple[int, int]:
    """Return how many attempts at an arm's runs yielded nothing, and all of them."""
    return arm.failures + max(arm.used - present, 0), arm.attempts


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
            f"looked at before, after {', '.join(map(number, e.looks))} runs, or in "
            "part."
        )
    return found
