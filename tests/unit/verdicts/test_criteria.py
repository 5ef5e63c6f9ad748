# SPDX-License-Identifier: GPL-2.0-only
"""Every criterion holds, fails and is undecided on data whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.compare.effect import EQUIVALENT
from analysis.compare.within_experiment import compare
from analysis.load.frames import load
from analysis.load.tidy import per_run, tidy
from analysis.stats import estimators
from analysis.verdicts.criteria import (
    EVICTS,
    GROWS,
    LEVELS_OFF,
    NO_CRASH,
    PACE,
    SMALLER,
    Verdict,
    judge,
    within_margin,
)
from analysis.verdicts.workload_pace import FAILS, HOLDS, UNDECIDED
from experiments.model import Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx


def verdicts(experiment: Experiment) -> dict[str, Verdict]:
    data = load(experiment)
    runs = per_run(data)
    found = judge(data, runs, compare(data, tidy(data, runs)))
    return {v.criterion: v for v in found}


def of(
    path: Path,
    control: fx.Shape | None = None,
    test: fx.Shape | None = None,
    runs: int = 3,
    max_entries: int | None = fx.MAX_ENTRIES,
) -> dict[str, Verdict]:
    lab = fx.Lab(path / "e", fx.arms(runs, max_entries=max_entries))
    shapes = {"control": control or fx.growing(), "test": test or fx.plateau()}
    return verdicts(lab.all_ok(shapes))


def counting(shape: fx.Shape, evictions: float) -> fx.Shape:
    """`shape` with this number of evictions in the end; NaN: not counted."""

    def counted(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        values = dict(shape(t, rng))
        values["evictions"] = np.floor(evictions * t / t[-1])
        if np.isnan(evictions):
            del values["evictions"]
        return values

    return counted


def statuses(found: Mapping[str, Verdict]) -> dict[str, str]:
    return {k: v.status for k, v in found.items()}


def test_all_hold_when_they_are_true(tmp_path: Path) -> None:
    found = of(tmp_path)
    claims = dict.fromkeys((GROWS, LEVELS_OFF, EVICTS, SMALLER, NO_CRASH), HOLDS)
    assert statuses(found) == claims | {PACE: EQUIVALENT}
    for verdict in found.values():
        assert verdict.runs == "control 3/3, test 3/3"
        assert verdict.sentence.count(".") >= 1 and verdict.sentence.endswith(".")


def test_the_sentences_carry_the_numbers(tmp_path: Path) -> None:
    found = of(tmp_path)
    assert "by 235 entries/s (95 % t interval over 3 runs" in found[GROWS].sentence
    assert "margin of ±23.5 (10 % of control's growth)" in found[LEVELS_OFF].sentence
    assert "90 % t interval over 3 runs" in found[LEVELS_OFF].sentence
    assert (
        "Test evicted entries in 3 of 3 runs (median 6,500)" in found[EVICTS].sentence
    )
    assert "control evicted entries in 0 of 3 runs" in found[EVICTS].sentence
    assert "over 3 blocks" in found[SMALLER].sentence
    assert "6 of 6 planned runs ended OK" in found[NO_CRASH].sentence


def test_a_control_that_does_not_grow(tmp_path: Path) -> None:
    found = of(tmp_path, control=fx.growing(slope=-2, noise=1))
    assert found[GROWS].status == FAILS
    assert found[LEVELS_OFF].status == UNDECIDED
    assert "no margin" in found[LEVELS_OFF].sentence


def test_a_control_in_doubt_is_undecided(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    slopes = {1: 200.0, 2: -1.0, 3: 30.0}
    for spec in lab.specs:
        shape = fx.plateau() if spec.variant == "test" else fx.growing(slopes[spec.run])
        lab.ok(spec, shape)
    assert verdicts(lab.experiment)[GROWS].status == UNDECIDED


def test_a_full_map_is_said_and_growth_is_measured_before(tmp_path: Path) -> None:
    found = of(tmp_path, control=fx.filling(slope=900))
    assert found[GROWS].status == HOLDS
    assert "max_entries = 16,384, in 3 of 3 runs" in found[GROWS].sentence
    assert "inserts failed" in found[GROWS].sentence
    assert found[LEVELS_OFF].status == HOLDS


def test_a_map_full_from_the_start_shows_no_growth(tmp_path: Path) -> None:
    found = of(tmp_path, control=fx.filling(slope=1e6))
    assert found[GROWS].status == UNDECIDED
    assert "cannot be measured" in found[GROWS].sentence
    assert "max_entries" in found[GROWS].sentence


def test_drift_does_not_level_off(tmp_path: Path) -> None:
    found = of(tmp_path, test=fx.plateau(drift=100, noise=5))
    assert found[LEVELS_OFF].status == FAILS
    assert "still growing" in found[LEVELS_OFF].sentence


def test_drift_at_the_margin_is_undecided(tmp_path: Path) -> None:
    found = of(tmp_path, test=fx.plateau(drift=23.5, noise=60))
    assert found[LEVELS_OFF].status == UNDECIDED


def test_noise_alone_is_not_levelling_off(tmp_path: Path) -> None:
    """A slope which is not significant proves nothing: the interval must be narrow."""
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    drifts = {1: -90.0, 2: 0.0, 3: 95.0}
    for spec in lab.specs:
        flat = fx.plateau(level=3000, drift=drifts[spec.run])
        lab.ok(spec, fx.growing() if spec.variant == "control" else flat)
    assert verdicts(lab.experiment)[LEVELS_OFF].status == UNDECIDED


def test_a_falling_map_has_not_levelled_off_yet(tmp_path: Path) -> None:
    found = of(tmp_path, test=fx.plateau(level=5000, drift=-100, noise=5))
    assert found[LEVELS_OFF].status == UNDECIDED
    assert "falling" in found[LEVELS_OFF].sentence


def test_a_test_map_stopped_by_its_limit_does_not_level_off(tmp_path: Path) -> None:
    full = counting(fx.filling(slope=2000), 50)
    found = of(tmp_path, control=fx.filling(slope=900), test=full)
    assert found[LEVELS_OFF].status == FAILS
    assert "its limit, not a cleanup" in found[LEVELS_OFF].sentence


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


def test_one_run_each_falls_back_on_the_run_and_says_so(tmp_path: Path) -> None:
    found = of(tmp_path, runs=1)
    assert found[GROWS].status == HOLDS
    assert "within the only run" in found[GROWS].sentence
    assert "within the only run" in found[LEVELS_OFF].sentence
    assert found[SMALLER].status == UNDECIDED
    assert "no interval from 1 block" in found[SMALLER].sentence


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
    assert f"5 of 6 planned runs ended OK, 1 {name}." == found[NO_CRASH].sentence
    assert {v.runs for v in found.values()} == {f"control 3/3, test 2/3 (1 {name})"}


def test_a_run_set_aside_is_counted_beside_the_verdicts(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2))
    for spec in lab.specs:
        lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
    lab.experiment.files(lab.specs[0]).csv.write_text("")
    found = verdicts(lab.experiment)
    assert found[GROWS].runs == "control 1/2 (1 set aside), test 2/2"
    assert found[NO_CRASH].status == HOLDS


def test_a_crash_that_was_repeated_is_no_pass(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e")
    experiment.update(retries=1)
    found = verdicts(experiment)[NO_CRASH]
    assert found.status == UNDECIDED
    assert "1 lost attempt of this experiment" in found.sentence


@pytest.mark.parametrize("finished", ["none", "control", "test"])
def test_missing_arms_are_undecided_and_never_a_pass(
    tmp_path: Path, finished: str
) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2))
    for spec in lab.specs:
        if spec.variant == finished:
            lab.ok(spec, fx.growing() if finished == "control" else fx.plateau())
    found = statuses(verdicts(lab.experiment))
    claims = (GROWS, LEVELS_OFF, EVICTS, SMALLER, PACE, NO_CRASH)
    expected = dict.fromkeys(claims, UNDECIDED)
    if finished == "control":
        expected[GROWS] = HOLDS
    assert found == expected


def test_an_unknown_limit_is_no_obstacle(tmp_path: Path) -> None:
    found = of(tmp_path, max_entries=None)
    assert found[GROWS].status == found[LEVELS_OFF].status == HOLDS


def test_a_plan_without_a_control_says_so(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2, ("test",)))
    found = verdicts(lab.all_ok({"test": fx.plateau()}))
    assert "control not planned" in found[GROWS].runs
    assert found[GROWS].status == found[SMALLER].status == UNDECIDED


def test_levelling_off_is_rarely_granted_to_a_drift_at_the_margin() -> None:
    """The two one-sided tests keep to 5 %: the slope here is exactly the margin."""
    rng = np.random.default_rng(2)
    granted = 0
    for _ in range(1000):
        tail = estimators.t_interval(rng.normal(23.5, 5, 4), level=0.90)
        above, below = (
            estimators.Interval(*(end + shift for end in tail))
            for shift in (-23.5, 23.5)
        )
        granted += within_margin(above, below, "")[0] == HOLDS
    assert granted / 1000 < 0.07


def test_runs_with_too_few_samples_say_so(tmp_path: Path) -> None:
    """The map was counted in the first half of each run only."""

    def counted_early(
        t: np.ndarray, rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        values = dict(fx.plateau()(t, rng))
        values["map_entries"] = np.where(t < t[-1] / 2, values["map_entries"], np.nan)
        return values

    found = of(tmp_path, test=counted_early)[LEVELS_OFF]
    assert found.status == UNDECIDED
    assert "Too few samples" in found.sentence
