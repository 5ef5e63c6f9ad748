# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from analysis.aggregate import aggregate_experiment
from analysis.compare.within_experiment import Comparison
from analysis.report import effect_figures
from tests.unit import analysis_fixtures as fx


def effect(metric: str, estimate: float, direction: str) -> Comparison:
    return Comparison(
        *("s", "w", "test", metric, "1/s", "workload", False, 5, 5, 5, 1.0, 1.0),
        *("ratio", estimate, estimate / 1.1, estimate * 1.1, direction),
    )


def test_the_largest_effect_comes_first_and_the_rest_is_said() -> None:
    found = [effect(f"m{n}", 1 + n / 100, "better") for n in range(40)]
    ((stem, text, svg),) = effect_figures._effects(("s", "w"), found, None)
    assert stem == "effects"
    assert text.finding == "Of 30 effects, 30 better"
    assert "the 30 largest of 40" in text.basis
    assert svg.startswith(b"<?xml")


def test_no_interval_is_no_figure() -> None:
    no_interval = Comparison(
        *("s", "w", "test", "m", "1/s", "workload", False, 1, 1, 1, 1.0, 1.0),
        *("ratio", 1.1, None, None, "unclear"),
    )
    assert not list(effect_figures._effects(("s", "w"), [no_interval], None))


@pytest.mark.parametrize(
    ("swept", "places"),
    [
        ({"budget_us": [100]}, {"test-budget_us100": ("budget_us 100", "")}),
        (
            {"max_age_ms": [1, 2], "budget_us": [9]},
            {
                "test-max_age_ms1-budget_us9": ("max_age_ms 1", "budget_us 9"),
                "test-max_age_ms2-budget_us9": ("max_age_ms 2", "budget_us 9"),
            },
        ),
    ],
)
def test_places_in_the_grid_of_a_sweep(
    swept: dict[str, list[object]], places: dict[str, tuple[str, str]]
) -> None:
    assert effect_figures._places(swept) == places


def test_an_experiment_gets_its_effects_drawn(tmp_path: Path) -> None:
    aggregate_experiment(fx.typical(tmp_path / "e", fx.arms(4)))
    drawn = {p.name.rpartition("_")[2] for p in (tmp_path / "e/plots").iterdir()}
    assert "effects.svg" in drawn
