# SPDX-License-Identifier: GPL-2.0-only
"""The error rates that the analysis promises, on made-up experiments."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.compare import within_experiment
from analysis.compare.effect import MARGIN
from analysis.validation import error_rates, simulation
from analysis.validation.error_rates import Row, exceeding
from analysis.validation.scenarios import ALPHA, CONTRAST, LIMIT, Case, cases
from analysis.validation.simulation import World

EXPERIMENTS = 60


def row_of(case: Case, experiments: int = EXPERIMENTS) -> Row:
    return error_rates._row(case, experiments, [7, len(case.scenario)])


def found(scenario: str, what: str = "") -> Case:
    (case,) = (c for c in cases() if c.scenario == scenario and what in c.what)
    return case


OURS = [c for c in cases() if not c.scenario.startswith((CONTRAST, LIMIT))]
#: Control's growth is an estimate, and so is the margin that is a part of it.
ESTIMATED_MARGIN = "slope at the margin, steady, control's growth varies by 10 %"
CHEAP = [c for c in OURS if c.share == 1 and c.scenario != ESTIMATED_MARGIN]


@pytest.mark.parametrize(
    "case", CHEAP, ids=lambda c: f"{c.scenario}, {c.blocks}: {c.what}"
)
def test_a_rate_is_what_was_promised(case: Case) -> None:
    row = row_of(case)
    if case.wrong:
        assert row["low"] <= ALPHA, row
    elif case.textbook is not None:
        assert row["low"] - 0.02 <= case.textbook <= row["high"] + 0.02, row


def test_a_margin_that_is_an_estimate_is_not_taken_for_known() -> None:
    assert row_of(found(ESTIMATED_MARGIN), 200)["low"] <= ALPHA


def test_looking_after_every_block_is_free() -> None:
    row = row_of(found("no effect, looked at after each block"), 50)
    assert row["n"] == 25
    assert row["low"] <= ALPHA


def test_all_control_first_is_wrong_most_of_the_time() -> None:
    (case,) = (c for c in cases() if "all control first" in c.scenario)
    assert row_of(case)["false_positive_rate"] > 0.7


def test_a_wrong_test_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation would notice: here an analysis that is wrong on purpose."""
    monkeypatch.setattr(within_experiment, "ALPHA", 0.25)
    rows = [row_of(found("no effect"))]
    assert [r["above 5 %"] for r in exceeding(rows)] == ["no effect"]


def test_exceeding_leaves_contrasts_out() -> None:
    row = {"what": "x", "false_positive_rate": 0.2, "low": 0.15}
    rows = [{**row, "scenario": s} for s in ("a", f"{CONTRAST}a", f"{LIMIT}a")]
    power = {**row, "scenario": "b", "false_positive_rate": None}
    assert [r["above 5 %"] for r in exceeding([*rows, power])] == ["a"]


def test_a_row_is_the_same_with_the_same_seed() -> None:
    case = found("effect of 3 %", "worse")
    assert row_of(case, 30) == row_of(case, 30)
    assert list(row_of(case, 30)) == [
        *("scenario", "what", "false_positive_rate", "power"),
        *("textbook_power", "n", "blocks", "low", "high"),
    ]


def test_a_lost_run_is_one_and_its_block_does_not_count() -> None:
    arms = simulation.draw(
        World(blocks=4, loses_a_run=True), 200, np.random.default_rng(1)
    )
    lost = np.isnan(arms.control).sum(axis=2) + np.isnan(arms.test).sum(axis=2)
    assert (lost == 1).all()
    assert np.isnan(arms.control).any() and np.isnan(arms.test).any()
    assert len(simulation._tidy(arms)) == 200 * 7


def test_the_order_is_random_within_blocks_only() -> None:
    places = simulation._places(World(blocks=5), 50, np.random.default_rng(2))
    assert (np.sort(places, axis=0)[0] == 2 * np.arange(5)).all()
    assert (np.abs(places[0] - places[1]) == 1).all()
    assert 0.3 < (places[0] < places[1]).mean() < 0.7
    before = simulation._places(
        World(blocks=5, control_first=True), 1, np.random.default_rng(2)
    )
    assert before[:, 0].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_the_truth_is_where_it_was_put() -> None:
    world = World(ratio=1 + MARGIN, cv=1e-6, blocks=2)
    arms = simulation.draw(world, 3, np.random.default_rng(3))
    assert arms.test / arms.control == pytest.approx(1.03, rel=1e-4)
