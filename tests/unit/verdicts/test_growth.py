# SPDX-License-Identifier: GPL-2.0-only
"""Control grows and test levels off, holds, fails and is undecided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analysis.verdicts.criteria import (
    GROWS,
    LEVELS_OFF,
)
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from tests.unit import analysis_fixtures as fx
from tests.unit.verdicts.judged import counting, of, verdicts


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


def test_an_unknown_limit_is_no_obstacle(tmp_path: Path) -> None:
    found = of(tmp_path, max_entries=None)
    assert found[GROWS].status == found[LEVELS_OFF].status == HOLDS


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


def test_inserts_that_were_refused_are_a_full_map(tmp_path: Path) -> None:
    """Between two samples the map was full; at the samples it was not."""

    def refused(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        return {**fx.plateau(12_000)(t, rng), "insert_failures": 5 * t}

    found = of(tmp_path, test=refused)[LEVELS_OFF]
    assert found.status == FAILS
    assert "refused" in found.sentence
