# SPDX-License-Identifier: GPL-2.0-only
"""Config -> Plan. Pure: the same config gives the same runs in the same order.

Control and the test strategies of one repetition form a block. The order of blocks, and
of the runs inside each, is random: with all control runs first, a slow drift of the
machine would be taken for an effect.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

from experiments import registry
from experiments.model import (
    CONTROL,
    NO_CLEANUP,
    TEST,
    BuildRequest,
    Plan,
    RunSpec,
    Scalar,
    Variant,
)
from experiments.plan.config import Config, default_samplers
from experiments.plan.knobs import CLEANUPS, setting_knobs
from experiments.plan.scheduler_source import SchedulerSource


def build_plan(config: Config) -> Plan:
    """Return the runs that `config` asks for, and what has to be built for them."""
    rng = random.Random(config.seed)
    builds = [tuple(_requests(config, source)) for source in config.sources()]
    pairs = itertools.product(builds, config.workloads)
    repetitions = range(1, config.iterations + 1)
    cells = [(b, w, n) for (b, w), n in itertools.product(pairs, repetitions)]
    rng.shuffle(cells)
    specs = [
        spec
        for block, cell in enumerate(cells, start=1)
        for spec in _block(config, rng, block, *cell)
    ]
    return Plan(config.seed, tuple(specs), tuple(itertools.chain(*builds)))


def _requests(config: Config, source: SchedulerSource) -> Iterator[BuildRequest]:
    """Yield what to build of one scheduler, control first.

    A user's own scheduler has none of our strategies.
    """
    if not source.is_builtin:
        for own, file in source.own_variants():
            settings = setting_knobs(config.settings)
            variant = dataclasses.replace(own, knobs={**own.knobs, **settings})
            yield BuildRequest(source.name, variant, file, config.include, config.map)
        return
    for variant in variants(config):
        yield BuildRequest(source.name, variant)


def variants(config: Config) -> Iterator[Variant]:
    """Return the variants of a scheduler of this project, control first."""
    of_treatment = {
        "cleanup": _cleanup_variants,
        "samplers": _sampler_variants,
        "none": _identical_variants,
    }
    return of_treatment[config.treatment](config)


def _cleanup_variants(config: Config) -> Iterator[Variant]:
    """Yield control and each strategy; with a sweep, each combination of settings."""
    knobs = config.all_knobs()
    yield Variant(CONTROL, NO_CLEANUP, knobs)
    strategies = [c for c in config.cleanups if c != NO_CLEANUP]
    for cleanup in strategies:
        name = TEST if len(strategies) == 1 else f"{TEST}-{cleanup}"
        reads = CLEANUPS[cleanup].reads
        read = {k: v for k, v in config.sweep.items() if k in reads}
        for settings in combinations(read):
            suffix = "".join(f"-{k}{v}" for k, v in settings.items())
            yield Variant(name + suffix, cleanup, {**knobs, **settings})


def _sampler_variants(config: Config) -> Iterator[Variant]:
    """Yield control without samplers; each chosen one, the default ones, and all."""
    knobs = config.all_knobs()
    sets = {CONTROL: tuple[str, ...](), f"{TEST}-default": default_samplers()}
    sets |= {f"{TEST}-{name}": (name,) for name in config.samplers}
    sets[f"{TEST}-all"] = tuple(registry.names("sampler"))
    for name, chosen in sets.items():
        yield Variant(name, NO_CLEANUP, knobs, chosen)


def _identical_variants(config: Config) -> Iterator[Variant]:
    """Yield control, and the same once more (A/A)."""
    for name in (CONTROL, TEST):
        yield Variant(name, NO_CLEANUP, config.all_knobs())


def combinations(sweep: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Yield every choice of one value for each setting; without a sweep one, empty."""
    for values in itertools.product(*sweep.values()):
        yield dict(zip(sweep, values, strict=True))


def _block(
    config: Config,
    rng: random.Random,
    block: int,
    builds: Sequence[BuildRequest],
    workload: str,
    run: int,
) -> Iterator[RunSpec]:
    """Yield the runs of one repetition.

    They share a seed, so their workloads do the same.
    """
    seed = rng.getrandbits(31)
    order = list(builds)
    rng.shuffle(order)
    for build in order:
        variant = build.variant
        yield RunSpec(
            scheduler=build.scheduler,
            variant=variant.name,
            cleanup=variant.cleanup,
            workload=workload,
            run=run,
            block=block,
            seed=seed,
            duration_s=config.duration_s,
            sample_interval_s=config.sample_interval_s,
            workload_params=config.workload_params(workload),
            knobs=variant.knobs,
            samplers=(
                config.chosen_samplers()
                if variant.samplers is None
                else variant.samplers
            ),
        )
