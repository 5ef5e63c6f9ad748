# SPDX-License-Identifier: GPL-2.0-only
"""Experiments whose truth is known, to see how often the analysis is wrong.

Nothing is judged here: made-up runs go through compare.compare() and verdicts.judge()
as those of real experiments do, and what they claim is counted. Each experiment is a
workload of one large Data, for a family of tests never reaches beyond its workload, and
a frame of many is much faster than many frames.

A rate of a claim that is wrong is an error rate; of one that is right, the power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as scipy_stats

from analysis.compare.effect import BETTER, WORSE
from analysis.compare.within_experiment import compare
from analysis.load import run_measures
from analysis.load.frames import RUN_COLUMNS, Data
from analysis.load.measures import KEYS, TIDY
from analysis.stats import estimators
from analysis.stats.estimators import Array
from analysis.verdicts.criteria import judge
from analysis.verdicts.workload_pace import HOLDS
from experiments.model import CONTROL, TEST, Outcome
from experiments.store.experiment import Experiment
from experiments.store.schema import SCHEMA, Manifest

#: The config of an experiment that goes on until it is decided.
LOOKED_AT: Mapping[str, Any] = {"until_decided": True}

Claims = npt.NDArray[np.str_]
IsWrong = npt.NDArray[np.bool_]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]

#: Experiments to a frame: groups are picked from it in a time that grows with it.
_CHUNK = 100


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def student(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return Student's t with 2 degrees of freedom: it has no variance."""
    return rng.standard_t(2, shape)


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return skewed: some runs take much longer, none much less."""
    return rng.lognormal(0, 1, shape)


@dataclass(frozen=True)
class World:
    """How the runs of an experiment come about.

    ``ratio`` is the true test/control, ``cv`` the scale of the noise from run to run
    on the log scale, ``drift`` what the session's last run takes longer than its first.
    The order within blocks is random unless ``control_first``. With ``loses_a_run`` one
    run of either arm is not there. With ``skewed_test`` the noise of test alone is
    lognormal, of the same geometric mean: the arms are then not exchangeable.
    """

    ratio: float = 1.0
    blocks: int = 10
    metrics: int = 1
    cv: float = 0.03
    noise: Noise = normal
    skewed_test: bool = False
    drift: float = 0.0
    control_first: bool = False
    loses_a_run: bool = False

    @property
    def sd(self) -> float:
        """Of the log ratio of two runs of a block, where the noise is normal."""
        return math.sqrt(2) * self.cv


@dataclass(frozen=True)
class Arms:
    """Values of experiments x metrics x blocks; NaN where a run was lost."""

    control: Array
    test: Array

    def until(self, block: int, of: npt.NDArray[np.int_]) -> Arms:
        """Return the first blocks of some experiments."""
        return Arms(self.control[of, :, :block], self.test[of, :, :block])


def draw(world: World, experiments: int, rng: np.random.Generator) -> Arms:
    shape = (experiments, world.metrics, world.blocks)
    places = _places(world, experiments, rng) / (2 * world.blocks - 1)
    noises = [world.noise(rng, shape), world.noise(rng, shape)]
    if world.skewed_test:
        noises[1] = lognormal(rng, shape) - math.exp(0.5)
    values = [
        factor * np.exp(world.cv * noise) * (1 + world.drift * place[:, None, :])
        for factor, noise, place in zip((1.0, world.ratio), noises, places, strict=True)
    ]
    if world.loses_a_run:
        every = np.arange(experiments)
        lost = rng.integers(world.blocks, size=experiments)
        arm = rng.integers(2, size=experiments)
        for i, of_arm in enumerate(values):
            of_arm[every[arm == i], :, lost[arm == i]] = np.nan
    return Arms(*values)


def _places(world: World, experiments: int, rng: np.random.Generator) -> Array:
    """Return the place in the session of each run: arm x experiments x blocks."""
    block = np.arange(world.blocks)
    if world.control_first:
        both = np.stack([block, block + world.blocks])
        return np.repeat(both[:, None], experiments, axis=1).astype(float)
    second = rng.integers(2, size=(experiments, world.blocks))
    return np.stack([2 * block + second, 2 * block + 1 - second]).astype(float)


# --- through the analysis -------------------------------------------------------------


def directions(arms: Arms, config: Mapping[str, Any] | None = None) -> Claims:
    """Return what compare() says of each experiment and metric."""
    parts = [
        _compared(Arms(arms.control[i : i + _CHUNK], arms.test[i : i + _CHUNK]), config)
        for i in range(0, len(arms.control), _CHUNK)
    ]
    return np.concatenate(parts)


def _compared(arms: Arms, config: Mapping[str, Any] | None) -> Claims:
    experiments, metrics, _ = arms.control.shape
    found = compare(_data(experiments, config), _tidy(arms))
    said = np.full((experiments, metrics), "", dtype="<U16")
    for c in found:
        said[int(c.workload[1:]), int(c.metric[1:])] = c.direction
    return said


def _tidy(arms: Arms) -> pd.DataFrame:
    frames = [_of_arm(CONTROL, arms.control), _of_arm(TEST, arms.test)]
    tidy = pd.concat(frames, ignore_index=True)
    return tidy[tidy["value"].notna()][TIDY]


def _of_arm(variant: str, values: Array) -> pd.DataFrame:
    experiment, metric, block = np.indices(values.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "scheduler": "simulated",
            "workload": np.char.add("e", experiment.astype(str)),
            "variant": variant,
            "run": block + 1,
            "block": block + 1,
            "metric": np.char.add("m", metric.astype(str)),
            "unit": "s",
            "lower_is_better": True,
            "source": "workload",
            "value": values.ravel(),
        }
    )


def _data(
    experiments: int, config: Mapping[str, Any] | None = None, blocks: int = 1
) -> Data:
    """Return finished experiments of `blocks` blocks, a workload each, empty."""
    keys = [
        ("simulated", variant, f"e{e}", block)
        for e in range(experiments)
        for variant in (CONTROL, TEST)
        for block in range(1, blocks + 1)
    ]
    runs = pd.DataFrame(keys, columns=["scheduler", "variant", "workload", "run"])
    runs = runs.assign(outcome=Outcome.OK.value, used=True)
    nothing = pd.DataFrame()
    manifest = Manifest(SCHEMA, "simulated", "", "", 0, (), config or {})
    return Data(
        experiment=Experiment(Path()),
        manifest=manifest,
        runs=runs.reindex(columns=RUN_COLUMNS),
        measured=nothing,
        metrics=nothing,
        sampling=nothing,
        lateness=nothing,
        agent=nothing,
        curves=nothing,
        histograms={},
        set_aside=(),
    )


def ever_differs(arms: Arms, config: Mapping[str, Any] | None) -> IsWrong:
    """Return whether compare() saw a difference at some look, one after every block."""
    found = np.zeros(len(arms.control), dtype=bool)
    for blocks in range(2, arms.control.shape[2] + 1):
        open_ = np.flatnonzero(~found)
        if len(open_):
            said = directions(arms.until(blocks, open_), config)
            found[open_] = differs(said)
    return found


def differs(said: Claims) -> IsWrong:
    """Return experiments in which any metric is said to be better or worse."""
    return np.asarray(np.isin(said, (BETTER, WORSE)).any(axis=1))


def welch_differs(arms: Arms) -> IsWrong:
    """Return what is not done here: unpaired arms, whatever their order was."""
    found = scipy_stats.ttest_ind(
        arms.control[:, 0], arms.test[:, 0], axis=1, equal_var=False
    )
    return np.asarray(found.pvalue <= 0.05)


# --- verdicts -------------------------------------------------------------------------


@dataclass(frozen=True)
class Slopes:
    """Growth of control and tail slope of test: intervals of experiments x runs."""

    growth: Sequence[Array]
    tail: Sequence[Array]


def slopes(growth: Array, tail: Array) -> Slopes:
    """Return slopes of several runs; no criterion looks into one of them then."""
    unknown = np.full_like(growth, np.nan)
    return Slopes((growth, unknown, unknown), (tail, unknown, unknown))


def ever_claimed(criterion: str, found: Slopes) -> IsWrong:
    """Return whether judge() says so at some look, one after every block."""
    looks = [
        Slopes([a[:, :n] for a in found.growth], [a[:, :n] for a in found.tail])
        for n in range(2, found.growth[0].shape[1] + 1)
    ]
    claims = [claimed(criterion, look, LOOKED_AT) for look in looks]
    return np.asarray(np.any(claims, axis=0))


def claimed(
    criterion: str, found: Slopes, config: Mapping[str, Any] | None = None
) -> IsWrong:
    """Return whether judge() says that `criterion` holds, of each experiment."""
    parts = []
    for i in range(0, len(found.growth[0]), _CHUNK):
        part = slice(i, i + _CHUNK)
        growth, tail = ([a[part] for a in s] for s in (found.growth, found.tail))
        runs = pd.concat([_runs(CONTROL, growth), _runs(TEST, tail)])
        data = _data(len(growth[0]), config, blocks=growth[0].shape[1])
        parts.append(_holds(criterion, data, runs))
    return np.concatenate(parts)


def _holds(criterion: str, data: Data, runs: pd.DataFrame) -> IsWrong:
    verdicts = [v for v in judge(data, runs, ()) if v.criterion == criterion]
    holds = np.zeros(len(verdicts), dtype=bool)
    for v in verdicts:
        holds[int(v.workload[1:])] = v.status == HOLDS
    return holds


def _runs(variant: str, slope: Sequence[Array]) -> pd.DataFrame:
    """Return rows of per_run(), in which `slope` is both the growth and the tail."""
    experiment, run = np.indices(slope[0].shape).reshape(2, -1)
    workload = np.char.add("e", experiment.astype(str))
    columns: dict[str, Any] = dict(
        zip(KEYS, ("simulated", workload, variant, run + 1, run + 1), strict=True)
    )
    names = ("growth_entries_per_s", "growth_low", "growth_high")
    tails = ("tail_entries_per_s", "tail_low", "tail_high")
    for name, tail, values in zip(names, tails, slope, strict=True):
        columns |= {name: values.ravel(), tail: values.ravel()}
    missing = dict.fromkeys(("evictions", "insert_failures", "full_at_s"), np.nan)
    return pd.DataFrame({**columns, **missing})


def within_runs(entries: Array, time_s: Array) -> list[Array]:
    """Return tail slopes of single runs, with their intervals.

    An experiment each.

    `entries` is experiments x samples.
    """
    found: list[estimators.Interval] = [
        run_measures.tail_slope(time_s, e) for e in entries
    ]
    return [np.array(ends)[:, None] for ends in zip(*found, strict=True)]
