# SPDX-License-Identifier: GPL-2.0-only
"""What keeps a claim from being made: too little, survivors, early looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.compare import looks
from analysis.load.frames import load
from analysis.verdicts.criteria import (
    EVICTS,
    GROWS,
    LEVELS_OFF,
    NO_CRASH,
    PACE,
    SMALLER,
    Verdict,
)
from analysis.verdicts.status import HOLDS, UNDECIDED
from experiments.model import Metric, Outcome
from tests.unit import analysis_fixtures as fx
from tests.unit.verdicts.judged import of, statuses, verdicts


@pytest.mark.parametrize("runs", [1, 2])
def test_one_or_two_blocks_claim_nothing_about_sizes(tmp_path: Path, runs: int) -> None:
    found = of(tmp_path, runs=runs)
    counted = {EVICTS: HOLDS, NO_CRASH: HOLDS}
    open_ = dict.fromkeys((GROWS, LEVELS_OFF, SMALLER, PACE), UNDECIDED)
    assert statuses(found) == counted | open_
    for criterion in (GROWS, LEVELS_OFF, SMALLER):
        assert "a claim needs 3" in found[criterion].sentence
    assert "grows by 23" in found[GROWS].sentence, "the estimate is told all the same"


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
