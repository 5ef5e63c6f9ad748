# SPDX-License-Identifier: GPL-2.0-only
"""The success criteria, each judged in one sentence with its numbers.

A criterion holds or does not hold when the data say so, and is undecided otherwise;
undecided is never a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare.effect import EQUIVALENT, Group
from analysis.compare.within_experiment import PRIMARY, Comparison
from analysis.load.arm_outcomes import SET_ASIDE
from analysis.load.frames import Data
from analysis.load.measures import number, plural
from analysis.stats import estimators
from analysis.verdicts.evidence import GroupEvidence, column, count_runs, gather
from analysis.verdicts.growth import judge_growth, judge_levelling_off
from analysis.verdicts.reservations import remarks, survivors, too_few
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED, Judgement
from analysis.verdicts.workload_pace import judge_pace
from experiments.model import CONTROL, Outcome

GROWS = "control grows"
LEVELS_OFF = "test levels off"
EVICTS = "test evicts"
SMALLER = "test stays below control"
PACE = "workload keeps its pace"
NO_CRASH = "no crash or ejection"

#: Claims about what test does, which its runs that crashed might have told otherwise.
_OF_SURVIVORS = (LEVELS_OFF, EVICTS, SMALLER, PACE)

#: Added to every sentence about runs of which nobody recorded what was loaded.
NOT_PROVED = "Imported, not proved."

FAULTS = tuple(outcome for outcome in Outcome if outcome.is_fault)


@dataclass(frozen=True)
class Verdict:
    """A criterion, its status, why, and which of the planned runs that rests on."""

    scheduler: str
    workload: str
    variant: str
    criterion: str
    status: str
    sentence: str
    runs: str

    @property
    def group(self) -> Group:
        return Group(self.scheduler, self.workload, self.variant)


def judge(
    data: Data, runs: pd.DataFrame, comparisons: Sequence[Comparison]
) -> list[Verdict]:
    """Return a verdict on each criterion for each group; `runs` is tidy.per_run()."""
    criteria: dict[str, Callable[[GroupEvidence], Judgement]] = {
        GROWS: judge_growth,
        LEVELS_OFF: judge_levelling_off,
        EVICTS: _evicts,
        SMALLER: _smaller,
        PACE: lambda e: judge_pace(list(e.effects.values())),
        NO_CRASH: _no_crash,
    }
    verdicts = []
    for evidence in gather(data, runs, comparisons):
        for criterion, judged_by in criteria.items():
            found = _unread(evidence, criterion) or judged_by(evidence)
            status, sentence = _reserved(evidence, criterion, found)
            verdicts.append(
                Verdict(
                    **vars(evidence.group),
                    criterion=criterion,
                    status=status,
                    sentence=sentence,
                    runs=count_runs(evidence),
                )
            )
    return verdicts


def _unread(e: GroupEvidence, criterion: str) -> Judgement | None:
    """Return that a claim cannot be judged as a column of it is 0 throughout."""
    test = e.group.variant
    needed = {
        GROWS: [(CONTROL, "map_entries")],
        LEVELS_OFF: [(CONTROL, "map_entries"), (test, "map_entries")],
        SMALLER: [(CONTROL, "map_entries"), (test, "map_entries")],
        EVICTS: [(test, "evictions")],
    }
    empty = dict.fromkeys(
        f"{name} of {variant}"
        for variant, name in needed.get(criterion, ())
        if name in e.no_information.get(variant, frozenset())
    )
    if not empty:
        return None
    listed = " and ".join(empty)
    return UNDECIDED, f"No information: every value of {listed} is 0."


def _reserved(e: GroupEvidence, criterion: str, found: Judgement) -> Judgement:
    """Return what is left of a judgement, beside what else is known of the group."""
    status, sentence = found
    sentences = [sentence]
    present = _present(e, criterion)
    if criterion in _OF_SURVIVORS and (why := survivors(e, present)):
        sentences.append(f"{why[0].upper()}{why[1:]}.")
        status = UNDECIDED if status in (HOLDS, EQUIVALENT) else status
    if criterion != GROWS and e.starved:
        sentences.append(e.starved)
        status = UNDECIDED if _rests_on_waiting(criterion, status) else status
    sentences += remarks(e)
    if not e.is_proved:
        sentences.append(NOT_PROVED)
    return status, " ".join(sentences)


def _rests_on_waiting(criterion: str, status: str) -> bool:
    """Return whether a claim would praise a variant whose tasks starved."""
    return criterion in _OF_SURVIVORS and status in (HOLDS, EQUIVALENT)


def _present(e: GroupEvidence, criterion: str) -> tuple[int, int]:
    """Return how many runs of control and of test have what a claim is judged by."""
    if criterion == PACE:
        primary = [c for c in e.effects.values() if c.role == PRIMARY]
        return (primary[0].n_control, primary[0].n_test) if primary else (0, 0)
    measure = "evictions" if criterion == EVICTS else "entries_max"
    control, test = (
        int(np.isfinite(column(arm, measure)).sum()) for arm in (e.control, e.test)
    )
    return control, test


def _evicts(e: GroupEvidence) -> Judgement:
    test, control = column(e.test, "evictions"), column(e.control, "evictions")
    said = f"{_evicted('Test', test)}; {_evicted('control', control)}."
    if (test == 0).any() or (control > 0).any():
        return FAILS, said
    known = len(test) and len(control) and np.isfinite([*test, *control]).all()
    return (HOLDS if known else UNDECIDED), said


def _evicted(arm: str, evictions: estimators.Array) -> str:
    if len(evictions) == 0:
        return f"{arm} has no run that is data"
    (known,) = estimators.present(evictions)
    if len(known) == 0:
        return f"{arm}'s evictions were not counted"
    some = int((known > 0).sum())
    text = f"{arm} evicted entries in {some} of {plural(len(evictions), 'run')}"
    if some:
        text += f" (median {number(float(np.median(known)))})"
    missing = len(evictions) - len(known)
    return text + (f" ({missing} not counted)" if missing else "")


def _smaller(e: GroupEvidence) -> Judgement:
    effects = [e.effects.get(("samples", m)) for m in ("entries_max", "entries_mean")]
    found = [c for c in effects if c is not None and c.estimate is not None]
    if len(found) < 2:
        return UNDECIDED, "No block has both control and test entries to compare."
    maximum, mean = found
    blocks = maximum.n_blocks
    largest, average = (number(c.control_mean) for c in found)
    said = (
        f"Against control's maximum of {largest} entries test's is "
        f"{maximum.in_words()}; against its mean of {average} test's is "
        f"{mean.in_words()}; over {plural(blocks, 'block')}"
    )
    if few := too_few(blocks):
        return UNDECIDED, f"{said}; {few}."
    if all(c.ci_high is not None and c.ci_high < c.null for c in found):
        return HOLDS, f"{said}."
    above = any(c.ci_low is not None and c.ci_low >= c.null for c in found)
    return (FAILS if above else UNDECIDED), f"{said}."


def _in_kernel_logs(e: GroupEvidence, planned: int) -> Judgement:
    """Judge imported runs, of which only kernel logs say what was loaded."""
    logs = e.kernel_logs
    if not logs.get("logs"):
        return UNDECIDED, (
            f"Of {plural(planned, 'run')} nothing recorded whether the "
            "scheduler was loaded, or for how long."
        )
    ejected = list(map(str, logs.get("ejected", ())))
    said = (
        f"Of {plural(int(logs['logs']), 'kernel log')} of the experiment "
        f"{logs.get('enabled', 0)} record that a scheduler was enabled, "
        f"{logs.get('unregistered', 0)} that it was unregistered, {len(ejected)} that "
        "the kernel ejected it"
    )
    if ejected:
        return FAILS, f"{said}: {'; '.join(ejected)}."
    return UNDECIDED, f"{said}. Which one it was in each run nobody recorded."


def _no_crash(e: GroupEvidence) -> Judgement:
    planned = sum(arm.planned for arm in e.outcomes)
    if not e.is_proved:
        return _in_kernel_logs(e, planned)
    others = Counter[str]()
    for arm in e.outcomes:
        others.update(arm.others)
    set_aside = others.pop(SET_ASIDE, 0)
    ok = sum(arm.used for arm in e.outcomes) + set_aside
    said = f"{ok} of {plural(planned, 'planned run')} ended OK"
    if others:
        listed = ", ".join(f"{n} {outcome}" for outcome, n in sorted(others.items()))
        said += f", {listed}"
    if repeated := sum(arm.lost_attempts for arm in e.outcomes) + e.unattributed:
        said += (
            f"; {plural(repeated, 'lost attempt')} had to be repeated, and the "
            "scheduler may have been the cause"
        )
    if set_aside:
        said += f"; the files of {set_aside} of them are no data"
    if any(outcome in others for outcome in FAULTS):
        return FAILS, f"{said}."
    is_open = others or repeated or set_aside or not ok
    return (UNDECIDED if is_open else HOLDS), f"{said}."
