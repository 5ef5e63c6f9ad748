# SPDX-License-Identifier: GPL-2.0-only
"""The claims about how the map grows: control's does, and test's levels off.

Test levels off when the slope of its last half is next to nothing *relative to
control's growth in the same block*: an equivalence (two one-sided tests at 5 %, which
is a 90 % interval inside the margin: D. J. Schuirmann, "A comparison of the two
one-sided tests procedure ...", 1987), not the absence of a significant slope, which a
noisy or a short run would give for nothing. Both are estimates, so the interval of
their ratio is Fieller's. And control must not level off as well: then something else
stops both.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.load.measures import number, plural, span
from analysis.stats import estimators
from analysis.stats.estimators import Interval
from analysis.stats.looking import ANY_TIME
from analysis.verdicts.evidence import GroupEvidence, column
from analysis.verdicts.reservations import too_few
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED, Judgement

#: A tail slope within this share of control's growth counts as level.
LEVEL_MARGIN = 0.10
#: Where control was stopped by its map's limit, test levels off below this share of it.
_FAR_BELOW = 0.5

_TAIL, _GROWTH = "tail_entries_per_s", "growth_entries_per_s"


# --- control grows --------------------------------------------------------------------


def judge_growth(e: GroupEvidence) -> Judgement:
    """Judge whether control's map grows, by its slope until the map was full."""
    if e.control.empty:
        return UNDECIDED, "No control run is data, so its growth is not known."
    (values,) = estimators.present(column(e.control, _GROWTH))
    if not len(values):
        return UNDECIDED, _no_growth(e)
    said = f"Control's map grows by {number(float(np.mean(values)))} entries/s"
    if few := too_few(len(values)):
        return UNDECIDED, f"{said}{_saturation(e)}, but {few}."
    interval = e.looking.interval(values, 0.95)
    kind = "confidence sequence" if e.looking.kind == ANY_TIME else "interval"
    if not np.isfinite([interval.low, interval.high]).all():
        return UNDECIDED, f"{said}{_saturation(e)}; more runs are needed to be sure."
    said = (
        f"{said} (95 % {kind} {span(interval.low, interval.high)}, "
        f"{plural(len(values), 'run')}){_saturation(e)}"
    )
    if interval.low > 0:
        return HOLDS, f"{said}."
    return (FAILS if interval.high <= 0 else UNDECIDED), f"{said}."


def _times_full(frame: pd.DataFrame) -> int:
    """Return in how many of the runs the map was full at some time."""
    return int(np.isfinite(column(frame, "full_at_s")).sum())


def _no_growth(e: GroupEvidence) -> str:
    if full := _times_full(e.control):
        return (
            f"Control's map was full, at max_entries = {number(e.max_entries)}, before "
            f"3 samples were taken in {full} of {plural(len(e.control), 'run')}: its "
            "growth cannot be measured."
        )
    if not np.isfinite(column(e.control, "entries_max")).any():
        return "The entries of control's map were not counted to the end of any run."
    return (
        "Control's growth cannot be measured: no run has 3 samples of its entries. "
        "Longer runs, or a shorter sample_interval_s, have them."
    )


def _saturation(e: GroupEvidence) -> str:
    """Say what to add when control's map was full: growth was measured until then."""
    full = _times_full(e.control)
    failures = np.nansum(column(e.control, "insert_failures"))
    if not full:
        return f", and {number(failures)} inserts failed" if failures > 0 else ""
    return (
        f", measured until the map was full, at max_entries = "
        f"{number(e.max_entries)}, in {full} of {plural(len(e.control), 'run')} "
        f"({number(failures)} inserts failed)"
    )


# --- test levels off ------------------------------------------------------------------


def judge_levelling_off(e: GroupEvidence) -> Judgement:
    """Judge whether test's map stops growing, by itself and as control's does not."""
    if e.test.empty:
        return UNDECIDED, "No test run is data, so its slope is not known."
    if full := _times_full(e.test):
        return FAILS, (
            f"Test's map reached max_entries = {number(e.max_entries)} in {full} of "
            f"{plural(len(e.test), 'run')}: its limit, not a cleanup, stops it."
        )
    if refused := float(np.nansum(column(e.test, "insert_failures"))):
        return FAILS, (
            f"Test's map refused {number(refused)} inserts, so it was full between "
            "samples: its limit, not a cleanup, stops it."
        )
    if not np.isfinite(column(e.test, _TAIL)).any():
        return UNDECIDED, _no_slope(e.test)
    if missing := _no_margin(e):
        return UNDECIDED, missing
    blocks = _blocks(e)
    if few := too_few(len(blocks)):
        return UNDECIDED, f"Of growth in control and slope in test, {few}."
    return _judge_slopes(e, blocks)


def _no_slope(test: pd.DataFrame) -> str:
    if not np.isfinite(column(test, "entries_max")).any():
        return "The entries of test's map were not counted to the end of any run."
    return (
        "Too few samples: the last half of a run needs 3 for a slope. Longer runs, "
        "or a shorter sample_interval_s, have them."
    )


def _no_margin(e: GroupEvidence) -> str:
    """Return why there is no growth of control to hold test's slope against."""
    if e.control.empty:
        return "No control run is data, so there is no growth to hold it against."
    (growth,) = estimators.present(column(e.control, _GROWTH))
    if not len(growth):
        return _no_growth(e)
    if np.mean(growth) <= 0:
        return "Control did not grow, so there is no growth to hold it against."
    return ""


def _blocks(e: GroupEvidence) -> pd.DataFrame:
    """Return columns growth, control and test, a row for each block that has all."""
    control = e.control.groupby("block")[[_GROWTH, _TAIL]].mean()
    test = e.test.groupby("block")[[_TAIL]].mean()
    control.columns = pd.Index(["growth", "control"])
    test.columns = pd.Index(["test"])
    return control.join(test, how="inner").dropna(subset=["growth", "test"])


def _relative(e: GroupEvidence, blocks: pd.DataFrame, arm: str) -> Interval:
    """Return an arm's last slope as a share of control's growth, at 90 %."""
    rows = blocks.dropna(subset=[arm])
    n = len(rows)
    if n < 2:
        return Interval(np.nan, -np.inf, np.inf)
    width = e.looking.half_width(n, 0.90)
    growth = rows["growth"].to_numpy(float)
    return estimators.ratio_of_means(rows[arm].to_numpy(float), growth, width)


def _judge_slopes(e: GroupEvidence, blocks: pd.DataFrame) -> Judgement:
    test = _relative(e, blocks, "test")
    if not np.isfinite([test.low, test.high]).all():
        return UNDECIDED, (
            "Control's growth is not surely more than nothing, so there is no growth "
            "to hold test's slope against."
        )
    said = (
        f"Over the last half of its runs test's map grows at {_percent(test)} of "
        f"control's growth, against a margin of ±{100 * LEVEL_MARGIN:.0f} %, over "
        f"{plural(len(blocks), 'block')}"
    )
    if test.low > LEVEL_MARGIN:
        return FAILS, f"{said}: still growing."
    if test.high < -LEVEL_MARGIN:
        return UNDECIDED, f"{said}: falling, so no level was reached."
    if not (test.low > -LEVEL_MARGIN and test.high < LEVEL_MARGIN):
        return UNDECIDED, f"{said}: not surely inside the margin."
    if as_well := _control_levels_off(e, blocks):
        return UNDECIDED, f"{said}: level, but {as_well}."
    return HOLDS, f"{said}: level."


def _percent(share: Interval) -> str:
    middle = f"{number(100 * share.estimate)} %"
    if not np.isfinite([share.low, share.high]).all():
        return f"{middle}, which is not known any better"
    return f"{middle} (90 % interval {span(100 * share.low, 100 * share.high)} %)"


def _control_levels_off(e: GroupEvidence, blocks: pd.DataFrame) -> str:
    """Return that control stops growing as well, unless it surely does not.

    Where it is the limit of control's map that stops it, test is far below that.
    """
    reached = estimators.largest(column(e.test, "entries_max"))
    is_full = _times_full(e.control) == len(e.control)
    if is_full and reached < _FAR_BELOW * e.max_entries:
        return ""
    rows = blocks.dropna(subset=["control"])
    more = (rows["control"] - rows["test"]).to_numpy(float)
    least = e.looking.interval(more, 0.90).low
    if least > 0 and _relative(e, blocks, "control").estimate > LEVEL_MARGIN:
        return ""
    control = _relative(e, blocks, "control")
    return f"control levels off as well: its own slope is {_percent(control)}"
