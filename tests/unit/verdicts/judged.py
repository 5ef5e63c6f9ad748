# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of verdicts share: experiments of made-up shapes, judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analysis.compare.within_experiment import compare
from analysis.load.frames import load
from analysis.load.tidy import per_run, tidy
from analysis.verdicts.criteria import (
    Verdict,
    judge,
)
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
