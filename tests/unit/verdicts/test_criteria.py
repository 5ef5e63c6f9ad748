# SPDX-License-Identifier: GPL-2.0-only
"""Every criterion holds, fails and is undecided on data whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.compare import looks
from analysis.compare.effect import EQUIVALENT
from analysis.compare.within_experiment import compare
from analysis.load.frames import load
from analysis.load.tidy import per_run, tidy
from analysis.verdicts.criteria import (
    EVICTS,
    GROWS,
    LEVELS_OFF,
    NO_CRASH,
    PACE,
    SMALLER,
    Verdict,
    judge,
)
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from experiments.model import Metric, Outcome
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


def test_a_control_that_does_not_grow(tmp_path: Path) -> None:
    found = of(tmp_path, control=fx.growing(slope=-2, noise=1))
    assert found[GROWS].status == FAILS
    assert found[LEVELS_OFF].status == UNDECIDED
    assert "Control did not grow" in found[LEVELS_OFF].sentence


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


@pytest.mark.parametrize("runs", [1, 2])
def test_one_or_two_blocks_claim_nothing_about_sizes(tmp_path: Path, runs: int) -> None:
    found = of(tmp_path, runs=runs)
    counted = {EVICTS: HOLDS, NO_CRASH: HOLDS}
    open_ = dict.fromkeys((GROWS, LEVELS_OFF, SMALLER, PACE), UNDECIDED)
    assert statuses(found) == counted | open_
    for criterion in (GROWS, LEVELS_OFF, SMALLER):
        assert "a claim needs 3" in found[criterion].sentence
    assert "grows by 23" in found[GROWS].sentence, "the estimate is told all the same"


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


def test_an_unknown_limit_is_no_obstacle(tmp_path: Path) -> None:
    found = of(tmp_path, max_entries=None)
    assert found[GROWS].status == found[LEVELS_OFF].status == HOLDS


def test_a_plan_without_a_control_says_so(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(2, ("test",)))
    found = verdicts(lab.all_ok({"test": fx.plateau()}))
    assert "control not planned" in found[GROWS].runs
    assert found[GROWS].status == found[SMALLER].status == UNDECIDED


def test_entries_that_were_not_counted_to_the_end_are_not_compared(
    tmp_path: Path,
) -> None:
    """The map was counted in the first half of each run only."""

    def counted_early(
        t: np.ndarray, rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        values = dict(fx.plateau()(t, rng))
        values["map_entries"] = np.where(t < t[-1] / 2, values["map_entries"], np.nan)
        return values

    found = of(tmp_path, test=counted_early)
    assert found[LEVELS_OFF].status == found[SMALLER].status == UNDECIDED
    assert "not counted to the end of any run" in found[LEVELS_OFF].sentence
    assert "No block has both" in found[SMALLER].sentence


def test_a_control_that_levels_off_as_well_leaves_it_open(tmp_path: Path) -> None:
    """Both are stopped by something else: there are only so many pids."""

    def stopped(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        filled = fx.filling(slope=1100, limit=12_000)(t, rng)
        return {**filled, "insert_failures": np.zeros_like(t)}

    found = of(tmp_path, control=stopped, test=stopped, max_entries=65_536)
    assert found[GROWS].status == HOLDS
    assert found[LEVELS_OFF].status == UNDECIDED
    assert "control levels off as well" in found[LEVELS_OFF].sentence


def test_the_limit_is_that_of_the_map_and_not_of_our_knobs(tmp_path: Path) -> None:
    """A scheduler of the user's has its own; the run recorded it."""
    full = counting(fx.filling(slope=900, limit=8192), 50)
    lab = fx.Lab(tmp_path / "e", fx.arms(3, max_entries=None))
    for spec in lab.specs:
        shape = fx.growing() if spec.variant == "control" else full
        lab.ok(spec, shape, facts={"map_max_entries": 8192})
    found = verdicts(lab.experiment)[LEVELS_OFF]
    assert found.status == FAILS
    assert "max_entries = 8,192" in found.sentence


def test_a_map_that_evicts_by_itself_is_never_full(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    maps = {"tasks": {"type": "lru_hash"}}
    facts = {"map": "tasks", "map_max_entries": 700, "maps": maps}
    for spec in lab.specs:
        is_control = spec.variant == "control"
        shape = fx.growing() if is_control else fx.plateau(690, noise=1)
        lab.ok(spec, shape, facts={} if is_control else facts)
    assert verdicts(lab.experiment)[LEVELS_OFF].status == HOLDS


def losing(path: Path, lost: Mapping[str, int], runs: int = 10) -> dict[str, Verdict]:
    """Of which `lost` runs of an arm were repeated once, as they were LOST at first."""
    lab = fx.Lab(path / "e", fx.arms(runs))
    for spec in lab.specs:
        shape = fx.growing() if spec.variant == "control" else fx.plateau()
        facts = {"lost_attempts": 1} if spec.run <= lost.get(spec.variant, 0) else {}
        lab.ok(spec, shape, facts=facts)
    return verdicts(lab.experiment)


def test_what_rests_on_the_survivors_is_undecided(tmp_path: Path) -> None:
    found = losing(tmp_path, {"test": 3})
    for criterion in (LEVELS_OFF, EVICTS, SMALLER, PACE):
        assert found[criterion].status == UNDECIDED
        assert (
            "of 13 attempts at test's runs 3 yielded nothing to judge by, of 10 at"
            in found[criterion].sentence
        )
    assert found[GROWS].status == HOLDS
    assert found[PACE].runs == "control 10/10, test 10/10 (3 LOST and repeated)"


def test_losses_of_both_arms_alike_say_nothing_of_either(tmp_path: Path) -> None:
    found = losing(tmp_path, {"test": 3, "control": 3})
    assert found[SMALLER].status == HOLDS


def test_a_loss_whose_arm_nobody_recorded_is_taken_for_tests(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e")
    experiment.update(retries=2)
    assert verdicts(experiment)[SMALLER].status == UNDECIDED


def test_before_all_is_done_every_verdict_is_provisional(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(10))
    for spec in lab.specs[:12]:
        lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
    for verdict in verdicts(lab.experiment).values():
        assert "Provisional: 12 of 20 runs are done." in verdict.sentence
    assert "confidence sequence" in verdicts(lab.experiment)[GROWS].sentence


def test_an_early_look_is_paid_for_at_the_end(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(8))
    for spec in lab.specs[:10]:
        lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
    looks.note(load(lab.experiment))
    for spec in lab.specs[10:]:
        lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
    found = verdicts(lab.experiment)[SMALLER]
    assert found.status == HOLDS
    assert "confidence sequence" in found.sentence
    assert "looked at before, after 10 runs" in found.sentence


def test_a_look_at_all_there_is_costs_nothing(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e")
    before = verdicts(experiment)
    looks.note(load(experiment))
    assert verdicts(experiment) == before


def test_runs_whose_files_are_no_data_are_lost_too(tmp_path: Path) -> None:
    """Seven of ten runs of test were cut; the other three look fine."""
    lab = fx.Lab(tmp_path / "e", fx.arms(10))
    for spec in lab.specs:
        lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
        if spec.variant == "test" and spec.run > 3:
            path = lab.experiment.files(spec).csv
            path.write_text("".join(path.read_text().splitlines(True)[:5]))
    found = verdicts(lab.experiment)
    for criterion in (LEVELS_OFF, EVICTS, SMALLER, PACE, NO_CRASH):
        assert found[criterion].status == UNDECIDED, found[criterion]


def test_a_metric_that_most_runs_of_test_lack_keeps_no_pace(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(10))
    for spec in lab.specs:
        is_test = spec.variant == "test"
        metrics = [Metric("time", 1 + spec.run / 1000, "s", True)]
        shape = fx.plateau() if is_test else fx.growing()
        lab.ok(spec, shape, [] if is_test and spec.run > 4 else metrics)
    assert verdicts(lab.experiment)[PACE].status == UNDECIDED


def test_inserts_that_were_refused_are_a_full_map(tmp_path: Path) -> None:
    """Between two samples the map was full; at the samples it was not."""

    def refused(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        return {**fx.plateau(12_000)(t, rng), "insert_failures": 5 * t}

    found = of(tmp_path, test=refused)[LEVELS_OFF]
    assert found.status == FAILS
    assert "refused" in found.sentence


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


def test_looks_that_cannot_be_read_were_looks(tmp_path: Path) -> None:
    experiment = fx.typical(tmp_path / "e")
    for text in ("garbage", "[Infinity]", "[" * 100_000, "{}", "[3]"):
        (experiment.path / looks.FILE).write_text(text)
        assert "looked at before" in verdicts(experiment)[GROWS].sentence


def test_a_run_that_was_repeated_after_a_look_is_other_data(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(4))
    for spec in lab.specs:
        if (spec.variant, spec.run) == ("test", 4):
            lab.broken(spec, Outcome.LOST)
        else:
            lab.ok(spec, fx.growing() if spec.variant == "control" else fx.plateau())
    looks.note(load(lab.experiment))
    last = next(s for s in lab.specs if (s.variant, s.run) == ("test", 4))
    lab.ok(last, fx.plateau())
    assert "looked at before" in verdicts(lab.experiment)[GROWS].sentence
