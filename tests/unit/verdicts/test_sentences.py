# SPDX-License-Identifier: GPL-2.0-only
"""Whatever the data are: sentences without holes, whose numbers imply their verdict."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare.effect import EQUIVALENT, MARGIN
from analysis.compare.within_experiment import Comparison, compare
from analysis.load.frames import PENDING, RUN_COLUMNS, Data
from analysis.load.measures import DASH, KEYS, TIDY
from analysis.load.records import NUMBERS
from analysis.verdicts.answer import Answer, answers
from analysis.verdicts.criteria import GROWS, LEVELS_OFF, PACE, SMALLER, Verdict, judge
from analysis.verdicts.growth import LEVEL_MARGIN
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from experiments.model import Outcome
from experiments.store.experiment import Experiment
from experiments.store.schema import SCHEMA, Manifest

CELL = {"scheduler": "s", "workload": "w"}
OUTCOMES = [*(o.value for o in Outcome), PENDING]

sizes = st.one_of(
    st.just(math.nan), st.just(0.0), st.floats(1e-3, 1e7, allow_subnormal=False)
)
slopes = st.one_of(
    st.just(math.nan), st.just(0.0), st.floats(-1e4, 1e4, allow_subnormal=False)
)


@st.composite
def arms(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the runs of two arms, what was measured of them, and their metrics."""
    runs, measured, metrics = [], [], []
    coarse = draw(st.booleans())
    scale = draw(st.sampled_from([1.0, 1.02, 1.5, 0.1]))
    for variant in ("control", "test"):
        for block in range(1, draw(st.integers(0, 7)) + 1):
            outcome = draw(st.sampled_from([*["OK"] * 12, *OUTCOMES]))
            key = {**CELL, "variant": variant, "run": block, "block": block}
            lost = draw(st.sampled_from([0, 0, 0, 0, 1]))
            used = outcome == "OK"
            runs.append(
                {**key, "outcome": outcome, "used": used, "lost_attempts": lost}
            )
            if not used:
                continue
            limit = draw(st.sampled_from([math.nan, 1000.0]))
            full = draw(st.sampled_from([math.nan, math.nan, 7.0]))
            measured.append(
                {
                    **key,
                    "entries_max": draw(sizes),
                    "entries_mean": draw(sizes),
                    "growth_entries_per_s": draw(slopes),
                    "tail_entries_per_s": draw(slopes),
                    "evictions": draw(sizes),
                    "insert_failures": draw(sizes),
                    "map_limit": limit,
                    "full_at_s": full if math.isfinite(limit) else math.nan,
                }
            )
            noise = draw(st.integers(-40, 40)) / (1 if coarse else 1000)
            value = (1 + (scale - 1) * (variant == "test")) * (100 + noise)
            if draw(st.integers(0, 9)):
                metrics.append(
                    {**key, "name": "time", "value": value, "unit": "s",
                     "lower_is_better": draw(st.just(True)), "resolution": math.nan}
                )  # fmt: skip
    return (
        pd.DataFrame(runs, columns=RUN_COLUMNS),
        pd.DataFrame(measured, columns=[*KEYS, *NUMBERS]),
        pd.DataFrame(
            metrics,
            columns=[*KEYS, "name", "value", "unit", "lower_is_better", "resolution"],
        ),
    )


Found = tuple[list[Verdict], list[Comparison], tuple[Answer, ...]]


def concluded(
    made: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], config: dict[str, Any]
) -> Found:
    runs, measured, metrics = made
    runs = runs.astype({"used": bool, "lost_attempts": int})
    data = Data(
        experiment=Experiment(Path("/nowhere")),
        manifest=Manifest(SCHEMA, "e", "", "", 0, (), config),
        runs=runs,
        measured=measured,
        metrics=metrics,
    )
    parts = [
        measured[KEYS].assign(
            metric=name, unit="entries", lower_is_better=True, source="samples",
            value=measured[name].astype(float), resolution=0.0,
        )
        for name in ("entries_max", "entries_mean")
    ]  # fmt: skip
    workload = metrics.rename(columns={"name": "metric"}).assign(source="workload")
    parts = [p for p in (*parts, workload[TIDY]) if not p.empty]
    tidy = pd.concat(parts) if parts else pd.DataFrame(columns=TIDY)
    comparisons = compare(data, tidy)
    verdicts = judge(data, measured, comparisons)
    return verdicts, comparisons, answers(data, verdicts, comparisons)


CONFIGS = st.sampled_from(
    [{}, {"until_decided": True}, {"until_decided": True, "looks": 3, "iterations": 6}]
)
HOLES = re.compile(rf"{DASH}|nan|NaN|\binf|None|  |\.\.|,,| \.|\(\)|: \.")


@settings(max_examples=250, deadline=None)
@given(arms(), CONFIGS)
def test_no_sentence_has_a_hole(
    made: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], config: dict[str, Any]
) -> None:
    verdicts, comparisons, found = concluded(made, config)
    sentences = [v.sentence for v in verdicts]
    sentences += [c.sentence() for c in comparisons]
    sentences += [s for answer in found for s in answer.sentences]
    for sentence in sentences:
        assert not HOLES.search(sentence), sentence
        assert re.match(r"[A-Z0-9\u201c]|time: ", sentence), sentence
        assert sentence.endswith("."), sentence


@settings(max_examples=250, deadline=None)
@given(arms(), CONFIGS)
def test_the_numbers_of_a_sentence_imply_its_verdict(
    made: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], config: dict[str, Any]
) -> None:
    verdicts, comparisons, found = concluded(made, config)
    by_criterion = {v.criterion: v for v in verdicts}
    for criterion, check in CHECKS.items():
        if (v := by_criterion.get(criterion)) is not None:
            check(v)
    for c in comparisons:
        check_direction(c)
    for answer in found:
        parts = {v.status for v in verdicts}
        assert answer.status != HOLDS or FAILS not in parts


def ends(sentence: str, name: str) -> list[float] | None:
    matched = re.search(
        rf"(?:{name}) ([\d,.e+\u2212-]+) to ([\d,.e+\u2212-]+)", sentence
    )
    if matched is None:
        return None
    return [float(g.replace(",", "").replace("\u2212", "-")) for g in matched.groups()]


def check_growth(v: Verdict) -> None:
    interval = ends(v.sentence, "95 % (?:interval|confidence sequence)")
    if v.status != UNDECIDED:
        assert interval is not None
        assert interval[0] >= 0 if v.status == HOLDS else interval[1] <= 0
    elif interval is not None:
        assert interval[0] <= 0 <= interval[1]


def check_level(v: Verdict) -> None:
    interval = ends(v.sentence, "90 % interval")
    if v.status == HOLDS:
        assert interval is not None
        assert -100 * LEVEL_MARGIN <= interval[0] <= interval[1] <= 100 * LEVEL_MARGIN
        assert v.sentence.split(". ")[0].rstrip(".").endswith(": level")
    if v.status == FAILS and interval is not None:
        assert interval[0] >= 100 * LEVEL_MARGIN


def check_smaller(v: Verdict) -> None:
    if v.status == HOLDS:
        highs = re.findall(r"to ([+\u2212][\d,.]+) ?[%e]", v.sentence)
        assert len(highs) == 2 and all(h.startswith("\u2212") for h in highs), v


def check_pace(v: Verdict) -> None:
    interval = ends(v.sentence, "(?:interval|sequence)(?:, corrected for \\d+,)?")
    if v.status in (HOLDS, EQUIVALENT):
        assert interval is not None and interval[1] < 100 * MARGIN
        assert v.status != EQUIVALENT or interval[0] > -100 * MARGIN
    if v.status == FAILS:
        assert interval is not None and interval[0] > 100 * MARGIN


def check_direction(c: Comparison) -> None:
    if c.ci_low is None or c.ci_high is None:
        assert c.direction == "unclear"
        return
    leaves_out = not c.ci_low <= c.null <= c.ci_high
    assert leaves_out or c.direction in ("unclear", EQUIVALENT)
    if c.kind == "ratio" and c.direction in ("better", "worse"):
        low, high = (c.amount(v) for v in (c.ci_low, c.ci_high))
        assert low[0] == high[0], "both ends are printed on the same side of 0"
        assert not re.fullmatch(r"[+\u2212]0(\.0+)? %", low)
    assert c.estimate is not None and np.isfinite(c.estimate)


CHECKS = {
    GROWS: check_growth,
    LEVELS_OFF: check_level,
    SMALLER: check_smaller,
    PACE: check_pace,
}
