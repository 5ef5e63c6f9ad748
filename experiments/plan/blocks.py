# SPDX-License-Identifier: GPL-2.0-only
"""Config -> Plan. Pure: the same config gives the same runs in the same order.

Control and the test strategies of one repetition form a block. The order of blocks, and
of the runs inside each, is random: with all control runs first, a slow drift of the
machine would be taken for an effect.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

from experiments import registry
from experiments.model import CONTROL, NO_CLEANUP, TEST, Arm, Plan, RunSpec, Scalar
from experiments.plan.config import Config, default_samplers
from experiments.plan.knobs import CLEANUPS
from experiments.plan.scheduler_source import Source


def variants(config: Config) -> dict[str, Arm]:
    """variant -> its arm; with a sweep, an arm for every combination of settings."""
    knobs = config.all_knobs()
    if config.treatment == "none":
        return {name: Arm(NO_CLEANUP, knobs) for name in (CONTROL, TEST)}
    tests = {}
    strategies = [c for c in config.cleanups if c != NO_CLEANUP]
    for cleanup in strategies:
        name = TEST if len(strategies) == 1 else f"{TEST}-{cleanup}"
        reads = CLEANUPS[cleanup].reads
        read = {k: v for k, v in config.sweep.items() if k in reads}
        for settings in combinations(read):
            suffix = "".join(f"-{k}{v}" for k, v in settings.items())
            tests[name + suffix] = Arm(cleanup, {**knobs, **settings})
    return {CONTROL: Arm(NO_CLEANUP, knobs), **tests}


def sampler_sets(config: Config) -> dict[str, Arm]:
    """Control without samplers; each chosen one, those on by default, and all."""
    knobs = config.all_knobs()
    sets = {CONTROL: tuple[str, ...](), f"{TEST}-default": default_samplers()}
    sets |= {f"{TEST}-{name}": (name,) for name in config.samplers}
    sets[f"{TEST}-all"] = tuple(registry.names("sampler"))
    return {name: Arm(NO_CLEANUP, knobs, chosen) for name, chosen in sets.items()}


def arms_of(config: Config, source: Source) -> dict[str, Arm]:
    """variant -> arm of one scheduler; a user's own has no strategies of ours."""
    if config.treatment == "samplers":
        return sampler_sets(config)
    return variants(config) if source.is_ours else source.arms()


def combinations(sweep: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every choice of one value for each setting; the empty choice without a sweep."""
    for values in itertools.product(*sweep.values()):
        yield dict(zip(sweep, values, strict=True))


def build(config: Config) -> Plan:
    rng = random.Random(config.seed)
    pairs = itertools.product(config.sources(), config.workloads)
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
    config: Config, rng: random.Random, block: int, source: Source, name: str, run: int
) -> Iterator[RunSpec]:
    """The runs of one repetition. They share a seed, so they get the same load."""
    seed = rng.getrandbits(31)
    arms = list(arms_of(config, source).items())
    rng.shuffle(arms)
    for variant, arm in arms:
        yield RunSpec(
            scheduler=source.name,
            variant=variant,
            cleanup=arm.cleanup,
            workload=name,
            run=run,
            block=block,
            seed=seed,
            duration_s=config.duration_s,
            sample_interval_s=config.sample_interval_s,
            workload_params=config.workload_params(name),
            knobs=arm.knobs,
            samplers=(
                config.chosen_samplers() if arm.samplers is None else arm.samplers
            ),
        )
