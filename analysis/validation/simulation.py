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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as scipy_stats

from analysis.compare.effect import BETTER, WORSE
from analysis.compare.within_experiment import compare
from analysis.load.frames import RUN_COLUMNS, Data
from analysis.load.measures import KEYS, TIDY
from analysis.stats.estimators import Array
from analysis.verdicts.criteria import PACE, judge
from analysis.verdicts.status import HOLDS
from experiments.model import CONTROL, TEST, Outcome
from experiments.store.experiment import Experiment
from experiments.store.schema import SCHEMA, Manifest

#: The config of an experiment that goes on until it is decided.
LOOKED_AT: Mapping[str, Any] = {"until_decided": True}
#: The same, at three looks that were planned, after 10, 20 and 30 blocks.
PLANNED_LOOKS = (10, 20, 30)
PLANNED: Mapping[str, Any] = {"until_decided": True, "looks": 3, "iterations": 30}

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


def two_modes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return noise of two modes, as a cache that is warm or cold makes it."""
    return 2.0 * rng.integers(2, size=shape) - 1 + 0.1 * rng.standard_normal(shape)


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
    Neighbouring blocks of an arm are correlated by ``correlation`` (AR(1)).
    ``step`` is that to which values are rounded, control's being about 1. Of test's
    runs a share ``stalls`` takes 1.5 times as long; with ``loses_the_slow`` four in
    ten do, and of these four in five are LOST and done again until they are not.
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
    correlation: float = 0.0
    step: float = 0.0
    stalls: float = 0.0
    loses_the_slow: bool = False

    @property
    def sd(self) -> float:
        """Of the log ratio of two runs of a block, where the noise is normal."""
        return math.sqrt(2) * self.cv


@dataclass(frozen=True)
class Arms:
    """Values of experiments x metrics x blocks; NaN where a run was lost."""

    control: Array
    test: Array
    #: Attempts at test's runs that were LOST, of experiments x blocks.
    lost: npt.NDArray[np.int_]

    def until(self, block: int, of: npt.NDArray[np.int_]) -> Arms:
        """Return the first blocks of some experiments."""
        return Arms(
            self.control[of, :, :block], self.test[of, :, :block], self.lost[of, :block]
        )

    def part(self, first: int, last: int) -> Arms:
        """Return some of the experiments."""
        return Arms(
            self.control[first:last], self.test[first:last], self.lost[first:last]
        )


def draw(world: World, experiments: int, rng: np.random.Generator) -> Arms:
    shape = (experiments, world.metrics, world.blocks)
    places = _places(world, experiments, rng) / (2 * world.blocks - 1)
    noises = [_correlated(world, world.noise(rng, shape)) for _ in range(2)]
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
    lost_attempts = _slow(world, values[1], rng)
    if world.step:
        values = [np.round(v / world.step) * world.step for v in values]
    control, test = values
    return Arms(control, test, lost_attempts)


def _correlated(world: World, noise: Array) -> Array:
    """Return noise of the same size in which a block follows the one before."""
    rho = world.correlation
    for block in range(1, world.blocks if rho else 0):
        fresh = math.sqrt(1 - rho**2) * noise[:, :, block]
        noise[:, :, block] = rho * noise[:, :, block - 1] + fresh
    return noise


def _slow(world: World, test: Array, rng: np.random.Generator) -> npt.NDArray[np.int_]:
    """Make some of test's runs slow; return how often each was LOST before."""
    shape = test.shape[0], test.shape[2]
    if world.stalls:
        test *= np.where(rng.random(shape) < world.stalls, 1.5, 1.0)[:, None, :]
    if not world.loses_the_slow:
        return np.zeros(shape, dtype=int)
    # 0.4 * 0.8 of attempts are slow and LOST; of the others, 0.08 of 0.68 are slow
    test *= np.where(rng.random(shape) < 0.08 / 0.68, 1.5, 1.0)[:, None, :]
    return rng.geometric(0.68, size=shape) - 1


def _places(world: World, experiments: int, rng: np.random.Generator) -> Array:
    """Return the place in the session of each run: arm x experiments x blocks."""
    block = np.arange(world.blocks)
    if world.control_first:
        both = np.stack([block, block + world.blocks])
        return np.repeat(both[:, None], experiments, axis=1).astype(float)
    second = rng.integers(2, size=(experiments, world.blocks))
    return np.stack([2 * block + second, 2 * block + 1 - second]).astype(float)


# --- through the analysis -------------------------------------------------------------


def directions(
    arms: Arms, config: Mapping[str, Any] | None = None, cells: int = 1
) -> Claims:
    """Return what compare() says of each experiment and metric.

    `cells` of the experiments are judged together.
    """
    parts = [
        _compared(arms.part(i, i + _CHUNK), config, cells)
        for i in range(0, len(arms.control), _CHUNK)
    ]
    return np.concatenate(parts)


def _compared(arms: Arms, config: Mapping[str, Any] | None, cells: int) -> Claims:
    experiments, metrics, _ = arms.control.shape
    found = compare(_data(experiments, config), _tidy(arms), primary=cells)
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
            "resolution": np.nan,
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
    runs = runs.assign(outcome=Outcome.OK.value, used=True, lost_attempts=0)
    nothing = pd.DataFrame()
    manifest = Manifest(SCHEMA, "simulated", "", "", 0, (), config or {})
    return Data(
        experiment=Experiment(Path()),
        manifest=manifest,
        runs=runs.reindex(columns=RUN_COLUMNS),
        measured=nothing,
        metrics=pd.DataFrame(columns=[*KEYS, "name", "value"]),
    )


def ever_differs(
    arms: Arms, config: Mapping[str, Any] | None, looks: Sequence[int] = ()
) -> IsWrong:
    """Return whether compare() saw a difference at some look.

    By default there is one after every block from the second on.
    """
    found = np.zeros(len(arms.control), dtype=bool)
    for blocks in looks or range(2, arms.control.shape[2] + 1):
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


def paces(arms: Arms) -> Claims:
    """Return judge()'s status of the pace of each experiment."""
    return np.concatenate(
        [_paces(arms.part(i, i + _CHUNK)) for i in range(0, len(arms.control), _CHUNK)]
    )


def _paces(arms: Arms) -> Claims:
    experiments, _, blocks = arms.control.shape
    data = _data(experiments, blocks=blocks)
    # In the order of _data(): by experiment, control first
    lost = np.stack([np.zeros_like(arms.lost), arms.lost], axis=1)
    data = replace(data, runs=data.runs.assign(lost_attempts=lost.ravel()))
    found = compare(data, _tidy(arms), primary=1)
    nothing = _runs(TEST, np.zeros((0, 1)), np.zeros((0, 1)))
    said = np.full(experiments, "", dtype="<U16")
    for v in judge(data, nothing, found):
        if v.criterion == PACE:
            said[int(v.workload[1:])] = v.status
    return said


@dataclass(frozen=True)
class Slopes:
    """Growth and last slope of control, last slope of test: experiments x runs."""

    growth: Array
    control: Array
    test: Array


def ever_claimed(criterion: str, found: Slopes) -> IsWrong:
    """Return whether judge() says so at some look, one after every block."""
    looks = [
        Slopes(found.growth[:, :n], found.control[:, :n], found.test[:, :n])
        for n in range(2, found.growth.shape[1] + 1)
    ]
    claims = [claimed(criterion, look, LOOKED_AT) for look in looks]
    return np.asarray(np.any(claims, axis=0))


def claimed(
    criterion: str, found: Slopes, config: Mapping[str, Any] | None = None
) -> IsWrong:
    """Return whether judge() says that `criterion` holds, of each experiment."""
    parts = []
    for i in range(0, len(found.growth), _CHUNK):
        growth, control, test = (
            a[i : i + _CHUNK] for a in (found.growth, found.control, found.test)
        )
        runs = pd.concat([_runs(CONTROL, growth, control), _runs(TEST, test, test)])
        data = _data(len(growth), config, blocks=growth.shape[1])
        parts.append(_holds(criterion, data, runs))
    return np.concatenate(parts)


def _holds(criterion: str, data: Data, runs: pd.DataFrame) -> IsWrong:
    verdicts = [v for v in judge(data, runs, ()) if v.criterion == criterion]
    holds = np.zeros(len(verdicts), dtype=bool)
    for v in verdicts:
        holds[int(v.workload[1:])] = v.status == HOLDS
    return holds


def _runs(variant: str, growth: Array, tail: Array) -> pd.DataFrame:
    """Return rows of per_run()."""
    experiment, run = np.indices(growth.shape).reshape(2, -1)
    workload = np.char.add("e", experiment.astype(str))
    columns: dict[str, Any] = dict(
        zip(KEYS, ("simulated", workload, variant, run + 1, run + 1), strict=True)
    )
    columns |= {
        "growth_entries_per_s": growth.ravel(),
        "tail_entries_per_s": tail.ravel(),
    }
    missing = dict.fromkeys(
        ("entries_max", "evictions", "insert_failures", "full_at_s", "map_limit"),
        np.nan,
    )
    return pd.DataFrame({**columns, **missing})
