# SPDX-License-Identifier: GPL-2.0-only
"""Whether a scheduler and a workload need another block of runs.

Asked before every block; answered by what was seen at the looks that were planned, or
after every block where none were, with the interval and at the level by which the
report judges the same metric (analysis.compare).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from analysis.compare.effect import is_inside_margin
from analysis.compare.exactness import blur_of_arms, step_of_values
from analysis.compare.looks import planned
from analysis.compare.within_experiment import is_test
from analysis.load.measures import OF_SAMPLERS
from analysis.stats.block_effect import FEWEST_BLOCKS, block_effect
from analysis.stats.looking import PLANNED, Looking
from analysis.stats.significance import ALPHA
from experiments.model import CONTROL, Metric, Outcome, RunResult, RunSpec
from experiments.store.experiment import Experiment

#: (variant, block) -> the result of the run, of those that are OK
_Runs = Mapping[tuple[str, int], RunResult]


def is_decided(experiment: Experiment, spec: RunSpec) -> bool:
    """Return whether each test variant's effect on the primary metric is known.

    Known is: it is not 1, or it lies within MARGIN of it.
    """
    manifest = experiment.manifest()
    groups = {(s.scheduler, s.workload, s.variant) for s in manifest.specs}
    level = 1 - ALPHA / max(sum(is_test(v) for *_, v in groups), 1)
    cell = [
        s
        for s in manifest.specs
        if (s.scheduler, s.workload) == (spec.scheduler, spec.workload)
    ]
    results = [(s, found) for s in cell if (found := experiment.result(s)) is not None]
    runs = {
        (s.variant, s.block): result
        for s, result in results
        if result.outcome is Outcome.OK
    }
    variants = {s.variant for s in cell if is_test(s.variant)}
    how = planned(manifest.config)
    finished = {s.run_id for s, _ in results}
    unfinished = {s.block for s in cell if s.run_id not in finished}
    blocks = sorted({s.block for s in cell} - unfinished)
    return bool(variants) and any(
        all(_is_known(runs, v, blocks[:n], how, level) for v in variants)
        for n in _looks(how, len(blocks))
    )


def _looks(how: Looking, blocks: int) -> Sequence[int]:
    """Return after how many blocks it may be decided, of those that are done."""
    if how.kind != PLANNED:
        return (blocks,)
    return range(how.size, blocks + 1, how.size)


def _is_known(
    runs: _Runs, variant: str, blocks: Sequence[int], how: Looking, level: float
) -> bool:
    pairs = list(_pairs(runs, variant, frozenset(blocks)))
    if len(pairs) < FEWEST_BLOCKS:
        return False
    arms = [np.array([m.value for m in arm]) for arm in zip(*pairs, strict=True)]
    said = [m.resolution for pair in pairs for m in pair]
    step = step_of_values(np.concatenate(arms), np.array(said, dtype=float))
    blur = blur_of_arms(arms, step, "ratio")
    found = block_effect(np.log(arms[1] / arms[0]), level, how, blur)
    if not found.is_known:
        return False
    ratio = tuple(float(np.exp(v)) for v in (found.low, found.high))
    is_none = math.isfinite(step) and is_inside_margin("ratio", *ratio)
    return found.low > 0 or found.high < 0 or is_none


def _pairs(
    runs: _Runs, variant: str, blocks: Collection[int]
) -> Iterator[tuple[Metric, Metric]]:
    """Yield control's and test's primary metric of each block that has both."""
    for (arm, block), test in sorted(runs.items(), key=lambda item: item[0]):
        control = runs.get((CONTROL, block))
        if arm != variant or block not in blocks or control is None:
            continue
        first = next((m for m in control.metrics if _is_workloads(m)), None)
        found = [m for m in test.metrics if first is not None and m.name == first.name]
        if first is not None and found and found[0].value > 0 and first.value > 0:
            yield first, found[0]


def _is_workloads(metric: Metric) -> bool:
    return not metric.name.startswith(OF_SAMPLERS)
