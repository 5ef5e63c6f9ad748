# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of experiments whose truth is known, and what might be claimed of them.

Cases that begin with CONTRAST are what is not done here, for comparison; in those that
begin with LIMIT an assumption is not met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from statsmodels.stats.power import TTestPower

from analysis.compare.effect import MARGIN
from analysis.stats.power import power_of
from analysis.validation import simulation
from analysis.validation.simulation import Arms, IsWrong, World
from analysis.verdicts import criteria

ALPHA = 0.05
CONTRAST, LIMIT = "contrast: ", "limit: "

Claim = Callable[[int, np.random.Generator], IsWrong]
#: Looked at after every block; compare() is told by the manifest's config.
MOST_BLOCKS = 30

#: Control's growth, in entries/s; its noise from run to run, and that of test's slope,
#: are shares of it.
GROWTH = 244.0
GROWTH_CV, TAIL_SD = 0.03, 0.05


class Case(NamedTuple):
    """`wrong`: whether the claim is. `share` of the experiments, where each is many."""

    scenario: str
    what: str
    wrong: bool
    blocks: int
    claim: Claim
    textbook: float | None = None
    share: float = 1.0


def cases() -> list[Case]:
    return [
        *_no_effect(),
        *_effects(),
        *_contrasts(),
        *_looking(),
        *_equivalence(),
        *_levelling_off(),
        *_growth(),
    ]


# --- comparisons ----------------------------------------------------------------------


def _arms(world: World, judged: Callable[[Arms], IsWrong]) -> Claim:
    return lambda n, rng: judged(simulation.draw(world, n, rng))


def _differs(arms: Arms) -> IsWrong:
    return simulation.differs(simulation.directions(arms))


def _is(direction: str) -> Callable[[Arms], IsWrong]:
    return lambda arms: (simulation.directions(arms) == direction).any(axis=1)


def _no_effect() -> list[Case]:
    drifting = World(cv=0.01, drift=0.03)
    worlds = {
        "no effect": World(),
        "no effect, few blocks": World(blocks=3),
        "no effect, a lost run": World(loses_a_run=True),
        "no effect, a lost run of few": World(blocks=4, loses_a_run=True),
        "no effect, Student t (2 degrees)": World(noise=simulation.student),
        "no effect, Student t, few blocks": World(blocks=4, noise=simulation.student),
        "no effect, lognormal": World(noise=simulation.lognormal),
        "no effect, lognormal, few blocks": World(blocks=4, noise=simulation.lognormal),
        "no effect, 6 metrics": World(metrics=6),
        "no effect, 6 metrics, few blocks": World(metrics=6, blocks=5),
        "no effect, 3 % drift, CV 1 %": drifting,
        f"{LIMIT}no effect, test alone is lognormal": World(skewed_test=True),
    }
    return [
        Case(name, "any metric differs", True, world.blocks, _arms(world, _differs))
        for name, world in worlds.items()
    ]


def _effects() -> list[Case]:
    found = []
    for ratio, blocks in ((1.03, 10), (1.10, 10), (1.10, 4)):
        world = World(ratio=ratio, blocks=blocks)
        effect = f"effect of {100 * (ratio - 1):.0f} %"
        textbook = power_of(world.sd, ratio, blocks)
        for what, wrong in (("worse", False), ("better", True)):
            claim = _arms(world, _is(what))
            power = None if wrong else textbook
            found.append(Case(effect, what, wrong, blocks, claim, power))
    return found


def _contrasts() -> list[Case]:
    before = World(cv=0.01, drift=0.03, control_first=True)
    return [
        Case(
            f"{CONTRAST}no effect, 3 % drift, CV 1 %, all control first",
            "differs by Welch's t",
            True,
            before.blocks,
            _arms(before, simulation.welch_differs),
        ),
        Case(
            f"{CONTRAST}no effect, looked at after each block",
            "differs by the test for one look",
            True,
            MOST_BLOCKS,
            _arms(
                World(blocks=MOST_BLOCKS),
                lambda a: simulation.ever_differs(a, config={}),
            ),
            share=0.1,
        ),
    ]


def _looking() -> list[Case]:
    none, some = World(blocks=MOST_BLOCKS), World(ratio=1.03, blocks=MOST_BLOCKS)
    several = World(blocks=MOST_BLOCKS, metrics=6)

    def judged(arms: Arms) -> IsWrong:
        return simulation.ever_differs(arms, simulation.LOOKED_AT)

    textbook = power_of(some.sd, some.ratio, MOST_BLOCKS)
    name = "looked at after each block"
    return [
        Case(
            f"no effect, {name}",
            "differs at any look",
            True,
            MOST_BLOCKS,
            _arms(none, judged),
            share=0.5,
        ),
        Case(
            f"no effect, 6 metrics, {name}",
            "any metric differs at any look",
            True,
            MOST_BLOCKS,
            _arms(several, judged),
            share=0.1,
        ),
        Case(
            f"effect of 3 %, {name}",
            "differs at any look",
            False,
            MOST_BLOCKS,
            _arms(some, judged),
            textbook,
            share=0.5,
        ),
    ]


def _equivalence() -> list[Case]:
    found = []
    for cv, blocks in ((0.03, 10), (0.01, 10), (0.01, 3)):
        for ratio in (1 + MARGIN, 1 / (1 + MARGIN), 1.0):
            world = World(ratio=ratio, blocks=blocks, cv=cv)
            where = "no effect" if ratio == 1 else f"ratio {ratio:.4g}, at the margin"
            name = f"{where}, CV {100 * cv:.0f} %"
            claim = _arms(world, _is("equivalent"))
            found.append(Case(name, "equivalent", ratio != 1, blocks, claim))
    return found


# --- verdicts -------------------------------------------------------------------------


def _slopes(
    tail: float,
    blocks: int,
    growth_cv: float,
    tail_sd: float,
    judged: Callable[[str, simulation.Slopes], IsWrong] = simulation.claimed,
) -> Claim:
    def claim(n: int, rng: np.random.Generator) -> IsWrong:
        growth = GROWTH * (1 + growth_cv * rng.standard_normal((n, blocks)))
        tails = GROWTH * (tail + tail_sd * rng.standard_normal((n, blocks)))
        found = simulation.slopes(growth, tails)
        return judged(criteria.LEVELS_OFF, found)

    return claim


def _levelling_off() -> list[Case]:
    margin = criteria.MARGIN
    what = criteria.LEVELS_OFF
    noisy = "slope at the margin, steady, control's growth varies by"
    given = [
        ("slope at the margin", margin, 10, GROWTH_CV, TAIL_SD),
        ("slope at the margin", margin, 3, GROWTH_CV, TAIL_SD),
        ("slope at the margin, falling", -margin, 10, GROWTH_CV, TAIL_SD),
        (f"{noisy} 3 %", margin, 10, 0.03, 0.01),
        (f"{noisy} 10 %", margin, 10, 0.10, 0.01),
        ("level", 0.0, 10, GROWTH_CV, TAIL_SD),
        ("level", 0.0, 3, GROWTH_CV, TAIL_SD),
    ]
    found = [
        Case(name, what, tail != 0, blocks, _slopes(tail, blocks, cv, sd))
        for name, tail, blocks, cv, sd in given
    ]
    name = "slope at the margin, a single run"
    found.append(Case(f"{name}, white noise", what, True, 1, _single(saw=0.0)))
    saw = f"{LIMIT}{name}, sawtooth"
    found.append(Case(saw, what, True, 1, _single(saw=120.0)))
    return [*found, _levelling_off_sequential()]


def _levelling_off_sequential() -> Case:
    judged = simulation.ever_claimed
    claim = _slopes(criteria.MARGIN, MOST_BLOCKS, GROWTH_CV, TAIL_SD, judged)
    return Case(
        "slope at the margin, looked at after each block",
        f"{criteria.LEVELS_OFF}, at any look",
        True,
        MOST_BLOCKS,
        claim,
        share=0.1,
    )


def _single(saw: float, noise: float = 25.0) -> Claim:
    """Return one run of 60 s, `saw` entries high and `noise` entries noisy."""
    time_s = np.arange(0.0, 61.0, 2.0)

    def claim(n: int, rng: np.random.Generator) -> IsWrong:
        phase = (time_s * 0.137 + rng.uniform(size=(n, 1))) % 1.0
        entries = criteria.MARGIN * GROWTH * time_s + saw * phase
        entries = entries + noise * rng.standard_normal(entries.shape)
        tail = simulation.within_runs(entries, time_s)
        growth = [np.full((n, 1), GROWTH)] * 3
        found = simulation.Slopes(growth, tail)
        return simulation.claimed(criteria.LEVELS_OFF, found)

    return claim


def _growth() -> list[Case]:
    return [
        _grows(f"control {'grows' if growth else 'is flat'}", growth, blocks)
        for growth in (0.0, 0.05)
        for blocks in (3, 10)
    ]


def _grows(scenario: str, growth: float, blocks: int) -> Case:
    def claim(n: int, rng: np.random.Generator) -> IsWrong:
        slopes = growth + TAIL_SD * rng.standard_normal((n, blocks))
        found = simulation.slopes(GROWTH * slopes, GROWTH * slopes)
        return simulation.claimed(criteria.GROWS, found)

    textbook = None
    if growth:
        size = growth / TAIL_SD
        textbook = TTestPower().power(size, blocks, ALPHA / 2, alternative="larger")
    return Case(scenario, criteria.GROWS, not growth, blocks, claim, textbook)
