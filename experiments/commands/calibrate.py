# SPDX-License-Identifier: GPL-2.0-only
"""Experiments about the machine and not about a clean-up: its noise, its samplers.

And what follows from its noise: whether a plan can find what it is to find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import paths
from experiments.errors import ConfigError
from experiments.model import CONTROL
from experiments.plan.blocks import build_plan
from experiments.plan.config import Config, load_config
from experiments.run.prepare import machine_facts, target
from experiments.run.progress import estimate_s

if TYPE_CHECKING:
    from analysis.compare.noise import Noise

#: Settings that were given; None is none.
Flags = Mapping[str, str | Sequence[str] | None]

#: Of --until-decided, where nobody says.
MAX_BLOCKS = "30"

_LEDGER: Flags = {
    "schedulers": ("scx_simple",),
    "workloads": ("hackbench", "stress-ng"),
    #: Those that put something into the kernel or beside the workload.
    "samplers": ("sched-latency", "proc-events", "wakeup-latency"),
    "duration_s": "10",
    "iterations": "6",
}
_NOISE: Flags = {
    "schedulers": ("scx_simple",),
    "workloads": ("hackbench", "stress-ng"),
    "duration_s": "15",
    "iterations": "8",
}


def ledger(flags: Flags) -> Config:
    """Return samplers as the treatment: what they cost the workload."""
    return _load(_LEDGER, flags, "samplers")


def noise(flags: Flags) -> Config:
    """Return control against itself: what runs differ by when nothing does."""
    return _load(_NOISE, flags, "none")


def _load(defaults: Flags, flags: Flags, treatment: str) -> Config:
    given = {k: v for k, v in flags.items() if v is not None}
    settings: dict[str, Any] = {**defaults, **given}
    return load_config(**settings, treatment=treatment)


def check_power(config: Config, effect: str) -> Iterator[str]:
    """Yield what each workload takes to find `effect`, as `3%`, with a power of 80 %.

    By the noise of this machine, of the primary metric of the workload, and as many
    variants as are judged together. Raises ConfigError when the plan is too small for
    one of them, or the noise is not known.
    """
    ratio = _ratio(effect)
    noise = _noise(config)
    short = []
    together = _judged_together(config)
    for workload in config.workloads:
        metric = _first_metric(noise, workload)
        needed = noise.blocks_for(workload, metric, ratio, together)
        yield f"{workload}: {needed or 'too many'} blocks find {effect} of {metric}"
        if needed is None or needed > config.iterations:
            short.append(f"{workload} needs {needed or 'more than can be run'}")
    if short:
        raise ConfigError(
            f"{config.iterations} blocks cannot find {effect} with a power of 80 %: "
            f"{', '.join(short)} (--iterations); a block of all takes "
            f"{_block_minutes(config):.1f} min"
        )


def _judged_together(config: Config) -> int:
    specs = build_plan(config).specs
    tests = {(s.scheduler, s.workload, s.variant) for s in specs}
    return max(1, sum(variant != CONTROL for *_, variant in tests))


def _ratio(effect: str) -> float:
    from analysis.compare.effect import MARGIN

    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", effect)
    if match is None or not float(match[1]):
        raise ConfigError(f"--detect {effect}: give a change in per cent, as in 3%")
    if float(match[1]) < 100 * MARGIN:
        raise ConfigError(
            f"--detect {effect}: a change of less than {100 * MARGIN:.0f} % counts as "
            "none, and is not to be found"
        )
    return 1 + float(match[1]) / 100


def _noise(config: Config) -> Noise:
    from analysis.compare.noise import newest_noise

    root, kernel = target(config)
    known = machine_facts(config, root, kernel)
    if (noise := newest_noise(paths.RESULTS, known)) is None:
        raise ConfigError("--detect needs the noise of this machine: invoke noise")
    return noise


def _first_metric(noise: Noise, workload: str) -> str:
    of = noise.table[noise.table["workload"] == workload]
    if of.empty:
        raise ConfigError(
            f"--detect: {noise.name} has no {workload}: "
            f"invoke noise --workload {workload}"
        )
    return str(of["metric"].iloc[0])


def _block_minutes(config: Config) -> float:
    specs = build_plan(config).specs
    return estimate_s(specs) / 60 / config.iterations
