# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from analysis.aggregate import aggregate_experiment
from analysis.compare.within_experiment import Comparison
from analysis.load.frames import load
from analysis.load.variants import labels
from analysis.report import effect_figures, painting, sketch
from experiments.plan.blocks import build_plan
from experiments.plan.config import parse_config
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx


def effect(metric: str, estimate: float, direction: str) -> Comparison:
    return Comparison(
        *("s", "w", "test", metric, "1/s", "workload", False, 5, 5, 5, 1.0, 1.0),
        *("ratio", estimate, estimate / 1.1, estimate * 1.1, direction),
    )


def test_the_largest_effect_comes_first_and_the_rest_is_said() -> None:
    found = [effect(f"m{n}", 1 + n / 100, "better") for n in range(40)]
    ((stem, text, painter, shown),) = effect_figures._effects(
        ("s", "w"), found, None, {"test": "test"}
    )
    assert stem == "effects"
    assert text.finding == "Of 30 effects, 30 better"
    assert "the 30 largest of 40" in text.basis
    svg = painting.paint(sketch.Sketch("f", "s", "w", text, painter, shown))
    assert svg.startswith(b"<?xml")


def test_no_interval_is_no_figure() -> None:
    no_interval = Comparison(
        *("s", "w", "test", "m", "1/s", "workload", False, 1, 1, 1, 1.0, 1.0),
        *("ratio", 1.1, None, None, "unclear"),
    )
    assert not list(effect_figures._effects(("s", "w"), [no_interval], None, {}))


BUDGETS = {
    "test-budget_us900": ("budget_us 900", ""),
    "test-budget_us100": ("budget_us 100", ""),
}


@pytest.mark.parametrize(
    ("swept", "places"),
    [
        ({"budget_us": [900, 100]}, BUDGETS),
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
    tmp_path: Path, swept: dict[str, list[int]], places: dict[str, tuple[str, str]]
) -> None:
    asked = {"schema": 1, "sweep": swept, "iterations": 1}
    plan = build_plan(parse_config(asked, "test"))
    experiment = Experiment.create(tmp_path / "e", plan, {"sweep": swept}, {})
    data = load(experiment)
    assert effect_figures._places(data, swept) == places
    assert list(places) == list(effect_figures._places(data, swept))
    cells = {", ".join(filter(None, place)) for place in places.values()}
    named = set(labels(experiment.manifest()).values())
    assert len(named) == 1 + len(places)
    assert len(places) == 1 or named >= {c.partition(",")[0] for c in cells}


def test_an_experiment_gets_its_effects_drawn(tmp_path: Path) -> None:
    aggregate_experiment(fx.typical(tmp_path / "e", fx.arms(4)))
    drawn = {p.name.rpartition("_")[2] for p in (tmp_path / "e/plots").iterdir()}
    assert "effects.svg" in drawn
