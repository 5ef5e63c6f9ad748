# SPDX-License-Identifier: GPL-2.0-only
"""A variant whose tasks starve has nothing that holds without reservation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from analysis.load.frames import load
from analysis.verdicts.criteria import (
    EVICTS,
    GROWS,
    LEVELS_OFF,
    NO_CRASH,
    PACE,
    SMALLER,
)
from analysis.verdicts.findings import find
from analysis.verdicts.status import HOLDS, UNDECIDED
from experiments.model import Metric
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx
from tests.unit.verdicts.judged import verdicts

S = 1e6


def waiting(path: Path, longest: Mapping[tuple[str, str], float]) -> Experiment:
    """Return ten blocks, in one run of which an arm has this longest wait, in us.

    The metric is that of `longest`; in all other runs it is 20 ms.
    """
    lab = fx.Lab(path / "e", fx.arms(10))
    names = sorted({name for _, name in longest})
    for spec in lab.specs:
        shape = fx.growing() if spec.variant == "control" else fx.plateau()
        waits = [
            Metric(
                name,
                longest.get((spec.variant, name), 0.02 * S) if spec.run == 4 else 2e4,
                "us",
                True,
            )
            for name in names
        ]
        pace = Metric("time", 1 + spec.run / 1e5, "s", True, 0.0)
        lab.ok(spec, shape, [pace, *waits])
    return lab.experiment


@pytest.mark.parametrize("name", ["run_queue_latency_max", "system_wait_max"])
def test_one_task_that_starved_in_one_run_is_enough(tmp_path: Path, name: str) -> None:
    experiment = waiting(tmp_path, {("test", name): 7 * S, ("control", name): 0.5 * S})
    found = verdicts(experiment)
    for criterion in (LEVELS_OFF, EVICTS, SMALLER, PACE):
        assert found[criterion].status == UNDECIDED
        assert (
            "waited 7 s for a CPU, under control 0.500 s" in found[criterion].sentence
        )
    assert found[GROWS].status == HOLDS
    assert "starved" not in found[GROWS].sentence
    assert "starved" in found[NO_CRASH].sentence, "no holds without reservation"
    (answer,) = find(load(experiment)).answers
    assert answer.status == UNDECIDED
    assert answer.sentences[0].startswith("Tasks starved under test")


@pytest.mark.parametrize(
    ("control", "test"), [(0.1, 0.9), (0.0, 0.99), (4.0, 7.0), (30.0, 29.0)]
)
def test_waits_that_are_short_or_like_controls_are_fine(
    tmp_path: Path, control: float, test: float
) -> None:
    name = "system_wait_max"
    experiment = waiting(
        tmp_path, {("test", name): test * S, ("control", name): control * S}
    )
    found = verdicts(experiment)
    for criterion in (LEVELS_OFF, EVICTS, SMALLER, NO_CRASH):
        assert found[criterion].status == HOLDS
        assert "starved" not in found[criterion].sentence


def test_results_without_waits_are_judged_as_before(tmp_path: Path) -> None:
    found = verdicts(waiting(tmp_path, {}))
    assert found[SMALLER].status == HOLDS
