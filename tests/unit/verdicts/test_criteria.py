# SPDX-License-Identifier: GPL-2.0-only
"""Every criterion holds, fails and is undecided on data whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.compare.effect import EQUIVALENT
from analysis.verdicts.criteria import (
    EVICTS,
    GROWS,
    LEVELS_OFF,
    NO_CRASH,
    PACE,
    SMALLER,
)
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from experiments.model import Metric, Outcome
from tests.unit import analysis_fixtures as fx
from tests.unit.verdicts.judged import counting, of, statuses, verdicts


def test_all_hold_when_they_are_true(tmp_path: Path) -> None:
    found = of(tmp_path)
    claims = dict.fromkeys((GROWS, LEVELS_OFF, EVICTS, SMALLER, NO_CRASH), HOLDS)
    assert statuses(found) == claims | {PACE: EQUIVALENT}
    for verdict in found.values():
        assert verdict.runs == "control 3/3, test 3/3"
        assert verdict.sentence.count(".") >= 1 and verdict.sentence.endswith(".")


def test_the_sentences_carry_the_numbers(tmp_path: Path) -> None:
    found = of(tmp_path)
    assert "grows by 235 entries/s (95 % interval 23" in found[GROWS].sentence
    level = found[LEVELS_OFF].sentence
    assert "against a margin of ±10 %, over 3 blocks: level" in level
    assert "of control's growth" in level and "(90 % interval" in level
    assert (
        "Test evicted entries in 3 of 3 runs (median 6,500)" in found[EVICTS].sentence
    )
    assert "control evicted entries in 0 of 3 runs" in found[EVICTS].sentence
    assert "over 3 blocks" in found[SMALLER].sentence
    assert "6 of 6 planned runs ended OK" in found[NO_CRASH].sentence


@pytest.mark.parametrize(
    "control, test, status",
    [
        (0, 50, HOLDS),
        (1, 50, FAILS),
        (0, 0, FAILS),
        (np.nan, 50, UNDECIDED),
        (0, np.nan, UNDECIDED),
        (1, np.nan, FAILS),
    ],
)
def test_evictions(tmp_path: Path, control: float, test: float, status: str) -> None:
    found = of(
        tmp_path, counting(fx.growing(), control), counting(fx.plateau(), test), runs=2
    )
    assert found[EVICTS].status == status
    if np.isnan([control, test]).any():
        assert "not counted" in found[EVICTS].sentence


def test_a_single_run_without_evictions_is_enough_to_fail(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    for spec in lab.specs:
        evicted = 0 if spec.run == 2 else 40
        test = counting(fx.plateau(), evicted)
        lab.ok(spec, fx.growing() if spec.variant == "control" else test)
    found = verdicts(lab.experiment)[EVICTS]
    assert found.status == FAILS
    assert "2 of 3 runs" in found.sentence


def test_a_test_above_control_does_not_stay_below(tmp_path: Path) -> None:
    found = of(tmp_path, control=fx.plateau(300), test=fx.growing())
    assert found[SMALLER].status == FAILS


def test_the_same_in_both_is_undecided(tmp_path: Path) -> None:
    found = of(tmp_path, control=fx.growing(), test=fx.growing())
    assert found[SMALLER].status == UNDECIDED


@pytest.mark.parametrize(
    "outcome, status",
    [
        (Outcome.EJECTED, FAILS),
        (Outcome.LOST, FAILS),
        (Outcome.FAILED, FAILS),
        (Outcome.TIMEOUT, FAILS),
        (Outcome.SKIPPED, UNDECIDED),
        (None, UNDECIDED),
    ],
)
def test_a_run_that_is_not_ok_is_named_everywhere(
    tmp_path: Path, outcome: Outcome | None, status: str
) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    for spec in lab.specs:
        if (spec.variant, spec.run) != ("test", 3):
            lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
        elif outcome is not None:
            lab.broken(spec, outcome, "why")
    found = verdicts(lab.experiment)
    name = outcome.value if outcome else "PENDING"
    assert found[NO_CRASH].status == status
    sentence = found[NO_CRASH].sentence
    assert sentence.startswith(f"5 of 6 planned runs ended OK, 1 {name}.")
    assert {v.runs for v in found.values()} == {f"control 3/3, test 2/3 (1 {name})"}


def test_a_run_set_aside_is_counted_beside_the_verdicts(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2))
    for spec in lab.specs:
        lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
    lab.experiment.files(lab.specs[0]).csv.write_text("")
    found = verdicts(lab.experiment)
    assert found[GROWS].runs == "control 1/2 (1 set aside), test 2/2"
    assert found[NO_CRASH].status == UNDECIDED
    assert "the files of 1 of them are no data" in found[NO_CRASH].sentence


def test_a_crash_that_was_repeated_is_no_pass(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e")
    experiment.update(retries=1)
    found = verdicts(experiment)[NO_CRASH]
    assert found.status == UNDECIDED
    assert "1 lost attempt had to be repeated" in found.sentence


@pytest.mark.parametrize("finished", ["none", "control", "test"])
def test_missing_arms_are_undecided_and_never_a_pass(
    tmp_path: Path, finished: str
) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    for spec in lab.specs:
        if spec.variant == finished:
            lab.ok(spec, fx.growing() if finished == "control" else fx.plateau())
    found = statuses(verdicts(lab.experiment))
    claims = (GROWS, LEVELS_OFF, EVICTS, SMALLER, PACE, NO_CRASH)
    expected = dict.fromkeys(claims, UNDECIDED)
    assert found == expected


def test_a_plan_without_a_control_says_so(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2, ("test",)))
    found = verdicts(lab.all_ok({"test": fx.plateau()}))
    assert "control not planned" in found[GROWS].runs
    assert found[GROWS].status == found[SMALLER].status == UNDECIDED


def test_a_first_run_without_the_metric_does_not_change_the_primary(
    tmp_path: Path,
) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(6))
    for spec in lab.specs:
        slower = 2.0 if spec.variant == "test" else 1.0
        metrics = [
            Metric("time", slower + spec.run / 1000, "s", True),
            Metric("run_queue_latency_p50", 300 + spec.run / 10, "us", True),
        ]
        first = spec.variant == "control" and spec.run == 1
        lab.ok(spec, fx.growing(), metrics[1:] if first else metrics)
    found = verdicts(lab.experiment)[PACE]
    assert found.status == FAILS
    assert found.sentence.startswith("time: ")
