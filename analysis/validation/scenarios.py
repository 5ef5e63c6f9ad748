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

from analysis.compare.effect import EQUIVALENT, MARGIN
from analysis.stats.power import power_of
from analysis.validation import simulation
from analysis.validation.simulation import Arms, IsWrong, World
from analysis.verdicts import criteria
from analysis.verdicts.growth import LEVEL_MARGIN
from analysis.verdicts.status import FAILS, HOLDS

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
        *_together(),
        *_effects(),
        *_contrasts(),
        *_looking(),
        *_equivalence(),
        *_pace(),
        *_levelling_off(),
        *_growth(),
    ]


# --- comparisons ----------------------------------------------------------------------


def _arms(world: World, judged: Callable[[Arms], IsWrong]) -> Claim:
    return lambda n, rng: judged(simulation.draw(world, n, rng))


def _differs(arms: Arms) -> IsWrong:
    return simulation.differs(simulation.directions(arms))


def _primary_differs(arms: Arms) -> IsWrong:
    return simulation.differs(simulation.directions(arms)[:, :1])


def _exploratory_differs(arms: Arms) -> IsWrong:
    return simulation.differs(simulation.directions(arms)[:, 1:])


def _is(direction: str) -> Callable[[Arms], IsWrong]:
    return lambda arms: (simulation.directions(arms) == direction).any(axis=1)


def _paced(*statuses: str) -> Callable[[Arms], IsWrong]:
    return lambda arms: np.isin(simulation.paces(arms), statuses)


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
        "no effect, two modes, 2 blocks": World(blocks=2, noise=simulation.two_modes),
        "no effect, two modes, 3 blocks": World(blocks=3, noise=simulation.two_modes),
        "no effect, two modes": World(noise=simulation.two_modes),
        "no effect, 3 % drift, CV 1 %": drifting,
        f"{LIMIT}no effect, test alone is lognormal": World(skewed_test=True),
        f"{LIMIT}no effect, neighbouring blocks correlate by 0.4": World(
            correlation=0.4
        ),
        f"{LIMIT}no effect, neighbouring blocks correlate by 0.8": World(
            correlation=0.8
        ),
    }
    return [
        Case(name, "any metric differs", True, world.blocks, _arms(world, _differs))
        for name, world in worlds.items()
    ]


def _together() -> list[Case]:
    """Return several metrics, and several cells of a table."""
    found = []
    for blocks in (10, 5):
        world = World(metrics=6, blocks=blocks)
        for what, judged in (
            ("the primary metric differs", _primary_differs),
            ("any exploratory metric differs", _exploratory_differs),
        ):
            claim = _arms(world, judged)
            found.append(Case("no effect, 6 metrics", what, True, blocks, claim))
    return [*found, _eight_cells()]


def _eight_cells() -> Case:
    cells, world = 8, World()

    def claim(n: int, rng: np.random.Generator) -> IsWrong:
        arms = simulation.draw(world, n * cells, rng)
        said = simulation.differs(simulation.directions(arms, cells=cells))
        return np.asarray(said.reshape(n, cells).any(axis=1))

    what = "the primary metric of any differs"
    return Case("no effect, 8 cells", what, True, world.blocks, claim, share=0.3)


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
            share=0.3,
        ),
    ]


def _looking() -> list[Case]:
    none, some = World(blocks=MOST_BLOCKS), World(ratio=1.03, blocks=MOST_BLOCKS)
    several = World(blocks=MOST_BLOCKS, metrics=6)

    def judged(arms: Arms) -> IsWrong:
        return simulation.ever_differs(arms, simulation.LOOKED_AT)

    textbook = power_of(some.sd, some.ratio, MOST_BLOCKS)
    name = "looked at after each block"
    early = World(blocks=10)
    planned = "at 3 planned looks"

    def judged_as_planned(arms: Arms) -> IsWrong:
        return simulation.ever_differs(
            arms, simulation.PLANNED, simulation.PLANNED_LOOKS
        )

    return [
        Case(
            f"no effect, {planned}",
            "differs at any look",
            True,
            MOST_BLOCKS,
            _arms(none, judged_as_planned),
            share=0.5,
        ),
        Case(
            f"effect of 3 %, {planned}",
            "differs at any look",
            False,
            MOST_BLOCKS,
            _arms(some, judged_as_planned),
            textbook,
            share=0.5,
        ),
        Case(
            f"no effect, {name}",
            "differs at any look",
            True,
            MOST_BLOCKS,
            _arms(none, judged),
            share=0.5,
        ),
        Case(
            "no effect, looked at unfinished after 3 to 8 blocks, then at all",
            "differs at any look",
            True,
            early.blocks,
            _arms(
                early,
                lambda a: simulation.ever_differs(
                    a, simulation.LOOKED_AT, (*range(3, 9), 10)
                ),
            ),
            share=0.5,
        ),
        Case(
            f"no effect, 6 metrics, {name}",
            "any metric differs at any look",
            True,
            MOST_BLOCKS,
            _arms(several, judged),
            share=0.3,
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


def _pace() -> list[Case]:
    slower = World(ratio=1 + MARGIN)
    worlds = [
        ("2 % slower", World(ratio=1.02, cv=0.01), (FAILS,), True),
        ("3 % slower, at the margin", slower, (FAILS,), True),
        ("3 % slower, at the margin", slower, (HOLDS, EQUIVALENT), True),
        ("3 % faster", World(ratio=1 / 1.03), (FAILS,), True),
        ("6 % slower", World(ratio=1.06), (FAILS,), False),
        ("no effect, CV 1 %", World(cv=0.01), (HOLDS, EQUIVALENT), False),
        (
            "slow runs are LOST and repeated",
            World(loses_the_slow=True),
            (HOLDS, EQUIVALENT),
            True,
        ),
        (
            "5 % slower, read to 25 %",
            World(ratio=1.05, cv=0.02, step=0.25),
            (HOLDS, EQUIVALENT),
            True,
        ),
        (
            "5 % slower, read to 10 %",
            World(ratio=1.05, cv=0.02, step=0.1),
            (HOLDS, EQUIVALENT),
            True,
        ),
        (
            f"{LIMIT}one run in ten takes 1.5 times as long",
            World(stalls=0.1),
            (HOLDS, EQUIVALENT),
            True,
        ),
    ]
    return [
        Case(
            name,
            f"the pace {' or '.join(statuses)}",
            wrong,
            world.blocks,
            _arms(world, _paced(*statuses)),
            share=0.3,
        )
        for name, world, statuses, wrong in worlds
    ]


# --- verdicts -------------------------------------------------------------------------


def _slopes(
    tail: float,
    blocks: int,
    growth_cv: float,
    tail_sd: float,
    judged: Callable[[str, simulation.Slopes], IsWrong] = simulation.claimed,
    control: float = 1.0,
) -> Claim:
    """Return slopes over the last half as shares of control's growth."""

    def claim(n: int, rng: np.random.Generator) -> IsWrong:
        growth = GROWTH * (1 + growth_cv * rng.standard_normal((n, blocks)))
        last, tails = (
            GROWTH * (share + tail_sd * rng.standard_normal((n, blocks)))
            for share in (control, tail)
        )
        found = simulation.Slopes(growth, last, tails)
        return judged(criteria.LEVELS_OFF, found)

    return claim


def _levelling_off() -> list[Case]:
    margin = LEVEL_MARGIN
    what = criteria.LEVELS_OFF
    noisy = "slope at the margin, steady, control's growth varies by"
    given = [
        ("slope at the margin", margin, 10, GROWTH_CV, TAIL_SD),
        ("slope at the margin", margin, 3, GROWTH_CV, TAIL_SD),
        ("slope at the margin", margin, 2, GROWTH_CV, TAIL_SD),
        ("slope at the margin", margin, 1, GROWTH_CV, TAIL_SD),
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
    for blocks in (10, 3):
        claim = _slopes(0.0, blocks, GROWTH_CV, 0.02, control=0.0)
        found.append(Case("both level off", what, True, blocks, claim))
    return [*found, _levelling_off_sequential()]


def _levelling_off_sequential() -> Case:
    judged = simulation.ever_claimed
    claim = _slopes(LEVEL_MARGIN, MOST_BLOCKS, GROWTH_CV, TAIL_SD, judged)
    return Case(
        "slope at the margin, looked at after each block",
        f"{criteria.LEVELS_OFF}, at any look",
        True,
        MOST_BLOCKS,
        claim,
        share=0.3,
    )


def _growth() -> list[Case]:
    return [
        _grows(f"control {'grows' if growth else 'is flat'}", growth, blocks)
        for growth in (0.0, 0.05)
        for blocks in (1, 3, 10)
    ]


def _grows(scenario: str, growth: float, blocks: int) -> Case:
    def claim(n: int, rng: np.random.Generator) -> IsWrong:
        slopes = GROWTH * (growth + TAIL_SD * rng.standard_normal((n, blocks)))
        found = simulation.Slopes(slopes, slopes, slopes)
        return simulation.claimed(criteria.GROWS, found)

    textbook = None
    if growth and blocks > 1:
        size = growth / TAIL_SD
        textbook = TTestPower().power(size, blocks, ALPHA / 2, alternative="larger")
    return Case(scenario, criteria.GROWS, not growth, blocks, claim, textbook)
