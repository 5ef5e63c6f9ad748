# SPDX-License-Identifier: GPL-2.0-only
"""One answer for each test variant, in plain words, from the verdicts about it.

Does the treatment do what it is for, what does it cost, how sure is that, and what
would decide what is open? The verdicts stay: they are the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare.effect import EQUIVALENT, MARGIN, Group
from analysis.compare.within_experiment import METHODS, PRIMARY, Comparison
from analysis.load.frames import PENDING, Data
from analysis.load.measures import number, plural
from analysis.stats.confidence_sequence import half_width_in_sd
from analysis.stats.estimators import t_half_width_in_sd
from analysis.stats.looking import ANY_TIME
from analysis.stats.shape import has_two_modes, outliers
from analysis.verdicts.criteria import (
    EVICTS,
    GROWS,
    LEVELS_OFF,
    NO_CRASH,
    PACE,
    SMALLER,
    Verdict,
)
from analysis.verdicts.starvation import starvation
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from experiments.model import CONTROL
from experiments.support.timespan import duration

#: What a clean-up is for: all of it has to hold.
_PURPOSE = (EVICTS, SMALLER, LEVELS_OFF)
_DOES = {
    EVICTS: "evicts entries",
    SMALLER: "keeps the map below control's",
    LEVELS_OFF: "lets it level off",
}
_HALF_WIDTHS = {METHODS[ANY_TIME]: half_width_in_sd}
#: More blocks than these are no advice.
_MOST_BLOCKS = 500


@dataclass(frozen=True)
class Answer:
    """A status for the whole, as of verdicts; sentences: effect, cost, how sure."""

    group: Group
    status: str
    sentences: tuple[str, ...]


def answers(
    data: Data, verdicts: Sequence[Verdict], comparisons: Sequence[Comparison]
) -> tuple[Answer, ...]:
    """Return an answer for each group that has verdicts, in their order."""
    found: dict[Group, dict[str, Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.group, {})[verdict.criterion] = verdict
    primary = {c.group: c for c in comparisons if c.role == PRIMARY}
    return tuple(
        _answer(data, group, of, primary.get(group)) for group, of in found.items()
    )


def _answer(
    data: Data, group: Group, of: Mapping[str, Verdict], primary: Comparison | None
) -> Answer:
    effect, does = _effect(of)
    cost, keeps = _cost(of[PACE], primary)
    sentences = [effect, cost]
    if of[NO_CRASH].status != HOLDS:
        crashes = of[NO_CRASH].sentence.split(". ")[0].rstrip(".") + "."
        sentences.insert(0 if of[NO_CRASH].status == FAILS else 2, crashes)
    if starved := starvation(data, group):
        sentences.insert(0, starved)
    sentences += _how_sure(data, group, primary)
    if open_ := _what_would_decide(data, group, of, primary):
        sentences.append(open_)
    statuses = (does, keeps, of[NO_CRASH].status)
    status = next((s for s in (FAILS, UNDECIDED) if s in statuses), HOLDS)
    return Answer(group, status, tuple(sentences))


def _effect(of: Mapping[str, Verdict]) -> tuple[str, str]:
    """Return whether the clean-up does what it is for, and the status of that."""
    by_status = {
        status: [c for c in _PURPOSE if of[c].status == status]
        for status in (HOLDS, FAILS, UNDECIDED)
    }
    if by_status[FAILS]:
        what = _listed([f"\u201c{c}\u201d does not hold" for c in by_status[FAILS]])
        return f"It does not do what it is for: {what}.", FAILS
    done = _listed([_DOES[c] for c in by_status[HOLDS]])
    if not by_status[UNDECIDED]:
        grows = (
            "" if of[GROWS].status == HOLDS else " (that control grows is not shown)"
        )
        return f"It does what it is for: it {done}{grows}.", HOLDS
    open_ = _listed([f"\u201c{c}\u201d" for c in by_status[UNDECIDED]])
    rest = f"It {done}; u" if done else "U"
    are = "are" if len(by_status[UNDECIDED]) > 1 else "is"
    return f"{rest}ndecided {are} {open_}.", UNDECIDED


def _cost(pace: Verdict, primary: Comparison | None) -> tuple[str, str]:
    """Return what it costs the workload, and the status of that."""
    margin = f"{100 * MARGIN:.0f} %"
    if primary is None:
        return "What it costs is not known: the workload reported no metric.", UNDECIDED
    size = f"{primary.metric} {primary.in_words()}"
    if pace.status in (HOLDS, EQUIVALENT):
        return f"It costs less than {margin} of the workload's pace: {size}.", HOLDS
    if pace.status == FAILS:
        return f"It slows the workload by more than {margin}: {size}.", FAILS
    return (
        f"Whether it costs {margin} of the workload's pace or more is open: {size}.",
        UNDECIDED,
    )


def _listed(words: Sequence[str]) -> str:
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


# --- how sure -------------------------------------------------------------------------


def _how_sure(data: Data, group: Group, primary: Comparison | None) -> Sequence[str]:
    if primary is None or not primary.n_blocks:
        return ()
    found = []
    n = min(primary.n_control, primary.n_test)
    unseen = 1 - 0.05 ** (1 / max(n, 1))
    found.append(
        f"From {plural(primary.n_blocks, 'block')}: what hits fewer than "
        f"{100 * unseen:.0f} % of runs may not have been seen at all."
    )
    if primary.dependence:
        found.append(
            "Neighbouring blocks resemble each other (r = "
            f"{number(primary.dependence, 2)}), so the interval was widened; it may "
            "still be too narrow."
        )
    for variant in (CONTROL, group.variant):
        values = _values(data, group, variant, primary.metric)
        if odd := len(outliers(values)):
            lie = "lies" if odd == 1 else "lie"
            found.append(f"{plural(odd, 'run')} of {variant} {lie} far off the others.")
        if has_two_modes(values):
            found.append(f"The runs of {variant} fall into two groups.")
    return found


def _values(data: Data, group: Group, variant: str, metric: str) -> np.ndarray:
    rows = data.metrics
    here = (
        (rows["scheduler"] == group.scheduler)
        & (rows["workload"] == group.workload)
        & (rows["variant"] == variant)
        & (rows["name"] == metric)
    )
    return rows.loc[here, "value"].to_numpy(dtype=float)


# --- what would decide ----------------------------------------------------------------


def _what_would_decide(
    data: Data, group: Group, of: Mapping[str, Verdict], primary: Comparison | None
) -> str:
    if pending := _pending(data, group):
        return f"{plural(pending, 'run')} of the plan are still to come: invoke resume."
    if of[PACE].status != UNDECIDED or primary is None or of[NO_CRASH].status == FAILS:
        return ""
    blocks = blocks_to_decide(primary)
    if blocks is None:
        return ""
    more = blocks - primary.n_blocks
    runs = _runs_per_block(data, group) * more
    seconds = runs * float(data.manifest.config.get("duration_s", 0))
    time = f", {duration(seconds)} of runs" if seconds else ""
    return (
        f"If it goes on like this, {plural(more, 'more block')}{time} would decide the "
        "pace."
    )


def _pending(data: Data, group: Group) -> int:
    runs = data.runs
    here = (runs["scheduler"] == group.scheduler) & (runs["workload"] == group.workload)
    return int((runs.loc[here, "outcome"] == PENDING).sum())


def _runs_per_block(data: Data, group: Group) -> int:
    runs: pd.DataFrame = data.runs
    here = (runs["scheduler"] == group.scheduler) & (runs["workload"] == group.workload)
    return int(runs.loc[here, "variant"].nunique())


def blocks_to_decide(c: Comparison) -> int | None:
    """Return how many blocks put the interval on one side of the margin.

    If estimate and noise stay as they are, and with the intervals that going on has, as
    who reads this has looked. None where they are not known, where it is
    decided, and where it would take more than anybody would run.
    """
    if c.kind != "ratio" or not c.estimate or not c.ci_low or not c.ci_high:
        return None
    worse = c.estimate if c.lower_is_better else 1 / c.estimate
    distance = abs(math.log1p(MARGIN) - math.log(worse)) - c.resolution
    half = math.log(c.ci_high / c.ci_low) / 2 - c.resolution
    if c.n_blocks < 2 or distance <= 0 or half <= 0:
        return None
    now = _HALF_WIDTHS.get(c.method, t_half_width_in_sd)
    sd = half / now(c.n_blocks, c.level)
    for n in range(c.n_blocks + 1, _MOST_BLOCKS):
        if half_width_in_sd(n, c.level) * sd < distance:
            return n
    return None
