# SPDX-License-Identifier: GPL-2.0-only
"""Config -> Plan. Pure: the same config gives the same runs in the same order.

Control and the test strategies of one repetition form a block. The order of blocks, and
of the runs inside each, is random: with all control runs first, a slow drift of the
machine would be taken for an effect.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from experiments.config import Config
from experiments.model import CONTROL, NO_CLEANUP, TEST, Plan, RunSpec


def variants(config: Config) -> dict[str, str]:
    """variant -> its cleanup strategy."""
    if len(config.cleanups) == 1:
        tests = {TEST: config.cleanups[0]}
    else:
        tests = {f"{TEST}-{cleanup}": cleanup for cleanup in config.cleanups}
    return {CONTROL: NO_CLEANUP, **tests}


def build(config: Config) -> Plan:
    rng = random.Random(config.seed)
    pairs = itertools.product(config.schedulers, config.workloads)
    repetitions = range(1, config.iterations + 1)
    cells = [(s, w, n) for (s, w), n in itertools.product(pairs, repetitions)]
    rng.shuffle(cells)
    specs = [
        spec
        for block, cell in enumerate(cells, start=1)
        for spec in _block(config, rng, block, *cell)
    ]
    return Plan(config.seed, tuple(specs))


def _block(
    config: Config, rng: random.Random, block: int, scheduler: str, name: str, run: int
) -> Iterator[RunSpec]:
    """The runs of one repetition. They share a seed, so they get the same load."""
    seed = rng.getrandbits(31)
    arms = list(variants(config).items())
    rng.shuffle(arms)
    for variant, cleanup in arms:
        yield RunSpec(
            scheduler=scheduler,
            variant=variant,
            cleanup=cleanup,
            workload=name,
            run=run,
            block=block,
            seed=seed,
            duration_s=config.duration_s,
            sample_interval_s=config.sample_interval_s,
            workload_params=config.workload_params(name),
            knobs=config.all_knobs(),
        )
