# SPDX-License-Identifier: GPL-2.0-only
"""The success criteria, each judged in one sentence with its numbers.

A criterion holds or does not hold when the data say so, and is undecided otherwise;
undecided is never a pass. Levelling off is judged as an equivalence (two one-sided
tests at 5 %, which is a 90 % interval inside the margin: D. J. Schuirmann, "A
comparison of the two one-sided tests procedure ...", 1987), not by the absence of a
significant slope, which a noisy or a short run would give for nothing.

With a single run the interval is that of Theil and Sen within it. It takes the samples
for independent, which a sawtooth is not, so the sentence says where it is from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare.effect import Group
from analysis.compare.within_experiment import Comparison, groups
from analysis.load.frames import Data
from analysis.load.measures import number, plural
from analysis.stats import estimators
from analysis.stats.confidence_sequence import confidence_sequence
from analysis.verdicts.evidence import GroupEvidence, count_runs, gather
from analysis.verdicts.workload_pace import FAILS, HOLDS, UNDECIDED, judge_pace
from experiments.model import Outcome

GROWS = "control grows"
LEVELS_OFF = "test levels off"
EVICTS = "test evicts"
SMALLER = "test stays below control"
PACE = "workload keeps its pace"
NO_CRASH = "no crash or ejection"

#: Added to every sentence about runs of which nobody recorded what was loaded.
NOT_PROVED = "Imported, not proved."

#: A tail slope within this share of control's growth counts as level.
MARGIN = 0.10

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


_Judgement = tuple[str, str]


def judge(
    data: Data, runs: pd.DataFrame, comparisons: Sequence[Comparison]
) -> list[Verdict]:
    """Return a verdict on each criterion for each group; `runs` is tidy.per_run()."""
    criteria: dict[str, Callable[[GroupEvidence], _Judgement]] = {
        GROWS: _grows,
        LEVELS_OFF: _levels_off,
        EVICTS: _evicts,
        SMALLER: _smaller,
        PACE: lambda e: judge_pace(list(e.effects.values())),
        NO_CRASH: _no_crash,
    }
    verdicts = []
    for group in groups(data):
        evidence = gather(group, data, runs, comparisons)
        counted = count_runs(evidence)
        for criterion, judged_by in criteria.items():
            status, sentence = judged_by(evidence)
            if not evidence.is_proved:
                sentence = f"{sentence} {NOT_PROVED}"
            verdicts.append(
                Verdict(
                    **vars(group),
                    criterion=criterion,
                    status=status,
                    sentence=sentence,
                    runs=counted,
                )
            )
    return verdicts


def _column(frame: pd.DataFrame, name: str) -> estimators.Array:
    return frame[name].to_numpy(dtype=float)


def _over_runs(
    frame: pd.DataFrame,
    name: str,
    within: tuple[str, str],
    level: float,
    is_sequential: bool,
) -> tuple[estimators.Interval, str]:
    """Return the interval over runs, or within the only run; and how it was come by."""
    (values,) = estimators.present(_column(frame, name))
    percent = f"{100 * level:.0f} %"
    if is_sequential:
        text = f"{percent} confidence sequence over {len(values)} runs"
        return confidence_sequence(values, level), text
    if len(values) != 1:
        text = f"{percent} t interval over {len(values)} runs"
        return estimators.t_interval(values, level), text
    row = frame[np.isfinite(_column(frame, name))].iloc[0]
    interval = estimators.Interval(float(values[0]), *(float(row[w]) for w in within))
    return interval, f"{percent} Theil-Sen interval within the only run"


def _ends(interval: estimators.Interval) -> str:
    return f"{number(interval.low)} to {number(interval.high)}"


def _grows(e: GroupEvidence) -> _Judgement:
    if e.control.empty:
        return UNDECIDED, "No control run is data, so its growth is not known."
    growth, method = _over_runs(
        e.control,
        "growth_entries_per_s",
        ("growth_low", "growth_high"),
        0.95,
        e.is_sequential,
    )
    if not np.isfinite(growth.estimate):
        return UNDECIDED, _no_growth(e)
    said = (
        f"Control's map grows by {number(growth.estimate)} entries/s "
        f"({method}: {_ends(growth)}){_saturation(e)}."
    )
    if growth.low > 0:
        return HOLDS, said
    return (FAILS if growth.high <= 0 else UNDECIDED), said


def _times_full(frame: pd.DataFrame) -> int:
    """Return in how many of the runs the map was full at some time."""
    return int(np.isfinite(_column(frame, "full_at_s")).sum())


def _no_growth(e: GroupEvidence) -> str:
    said = "Control's growth cannot be measured: there are fewer than 3 samples"
    if not (full := _times_full(e.control)):
        return f"{said} of its entries in any run."
    return (
        f"{said} before its map was full, at max_entries = {number(e.max_entries)}, "
        f"in {full} of {plural(len(e.control), 'run')}."
    )


def _saturation(e: GroupEvidence) -> str:
    """Say what to add when control's map was full.

    Growth was measured until then.
    """
    full = _times_full(e.control)
    failures = np.nansum(_column(e.control, "insert_failures"))
    if not full:
        return f", and {number(failures)} inserts failed" if failures > 0 else ""
    return (
        f", measured until the map was full, at max_entries = "
        f"{number(e.max_entries)}, in {full} of {plural(len(e.control), 'run')} "
        f"({number(failures)} inserts failed)"
    )


def _levels_off(e: GroupEvidence) -> _Judgement:
    if e.test.empty:
        return UNDECIDED, "No test run is data, so its slope is not known."
    tail, method = _over_runs(
        e.test, "tail_entries_per_s", ("tail_low", "tail_high"), 0.90, e.is_sequential
    )
    if not math.isfinite(tail.estimate):
        return UNDECIDED, (
            "Too few samples: the last half of a run needs 3 for a slope. Longer runs, "
            "or a shorter sample_interval_s, have them."
        )
    said = (
        f"Over the last half of its runs test's map changes by {number(tail.estimate)} "
        f"entries/s ({method}: {_ends(tail)})"
    )
    if full := _times_full(e.test):
        return FAILS, (
            f"{said}, but it reached max_entries = {number(e.max_entries)} in {full} "
            f"of {plural(len(e.test), 'run')}: its limit, not a cleanup, stops it."
        )
    growth = estimators.summarise(_column(e.control, "growth_entries_per_s")).median
    if not growth > 0:
        return UNDECIDED, f"{said}; control did not grow, so there is no margin."
    said = (
        f"{said}, against a margin of ±{number(MARGIN * growth)} "
        f"({100 * MARGIN:.0f} % of control's growth)"
    )
    return within_margin(*_beyond_margin(e, tail, MARGIN * growth), said)


def _beyond_margin(
    e: GroupEvidence, tail: estimators.Interval, margin: float
) -> tuple[estimators.Interval, estimators.Interval]:
    """Return 90 % intervals of the tail slope less the margin, and of both added up.

    The margin is an estimate as well, and scatters as control's growth does: taken
    for known, what grows by exactly as much would be called level far too often.
    With a single run of either there is nothing to tell its scatter by.
    """
    arms = e.control.set_index("block"), e.test.set_index("block")
    growth = MARGIN * arms[0]["growth_entries_per_s"]
    slope = arms[1]["tail_entries_per_s"]
    if e.is_sequential:
        above, below = ((slope + s * growth).to_numpy(float) for s in (-1, 1))
        return confidence_sequence(above, 0.90), confidence_sequence(below, 0.90)
    g, t = (estimators.present(s.to_numpy(float))[0] for s in (growth, slope))
    if min(len(g), len(t)) < 2:
        low, middle, high = tail.low, tail.estimate, tail.high
        return (
            estimators.Interval(middle - margin, low - margin, high - margin),
            estimators.Interval(middle + margin, low + margin, high + margin),
        )
    return estimators.welch_interval(g, t, 0.90), estimators.welch_interval(-g, t, 0.90)


def within_margin(
    above: estimators.Interval, below: estimators.Interval, said: str
) -> tuple[str, str]:
    """Return two one-sided tests: status and sentence.

    `above` and `below` are 90 % intervals of the slope less the margin and of both
    added up, entries/s; `said` is the sentence so far.
    """
    if above.high < 0 < below.low:
        return HOLDS, f"{said}: level."
    if above.low > 0:
        return FAILS, f"{said}: still growing."
    if below.high < 0:
        return UNDECIDED, f"{said}: falling, so no level was reached."
    return UNDECIDED, f"{said}: not surely inside the margin."


def _evicts(e: GroupEvidence) -> _Judgement:
    test, control = _column(e.test, "evictions"), _column(e.control, "evictions")
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


def _smaller(e: GroupEvidence) -> _Judgement:
    effects = [e.effects.get(("samples", m)) for m in ("entries_max", "entries_mean")]
    found = [c for c in effects if c is not None and c.estimate is not None]
    if len(found) < 2:
        return UNDECIDED, "No block has both control and test entries to compare."
    maximum, mean = found
    said = (
        f"Test's maximum is {maximum.in_words()}, {number(maximum.test)} against "
        f"{number(maximum.control)} entries, and its mean {mean.in_words()}, "
        f"{number(mean.test)} against {number(mean.control)}, "
        f"over {plural(maximum.n_blocks, 'block')}."
    )
    if all(c.ci_high is not None and c.ci_high < c.null for c in found):
        return HOLDS, said
    above = any(c.ci_low is not None and c.ci_low >= c.null for c in found)
    return (FAILS if above else UNDECIDED), said


def _no_crash(e: GroupEvidence) -> _Judgement:
    if not e.is_proved:
        return UNDECIDED, (
            f"Of {plural(len(e.planned), 'run')} nothing recorded whether the "
            "scheduler was loaded, or for how long."
        )
    outcomes = Counter(map(str, e.planned["outcome"]))
    ok = outcomes.pop(Outcome.OK.value, 0)
    said = f"{ok} of {plural(len(e.planned), 'planned run')} ended OK"
    if outcomes:
        others = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
        said += f", {others}"
    if e.retries:
        said += f"; {plural(e.retries, 'lost attempt')} of this experiment had to be "
        said += "repeated, and the scheduler may have been the cause"
    if any(fault.value in outcomes for fault in FAULTS):
        return FAILS, f"{said}."
    return (UNDECIDED if outcomes or e.retries else HOLDS), f"{said}."
