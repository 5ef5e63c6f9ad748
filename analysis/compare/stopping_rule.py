# SPDX-License-Identifier: GPL-2.0-only
"""Whether a scheduler and a workload need another block of runs.

Asked before every block; answered by what was seen at the looks that were planned, or
after every block where none were, with the interval and at the level by which the
report judges the same metric (analysis.compare).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from analysis.compare.effect import is_inside_margin
from analysis.compare.looks import planned
from analysis.stats.block_effect import FEWEST_BLOCKS, block_effect
from analysis.stats.looking import PLANNED, Looking
from analysis.stats.significance import ALPHA
from experiments.model import CONTROL, Outcome, RunResult, RunSpec
from experiments.store.experiment import Experiment

#: (variant, block) -> the result of the run, of those that are OK
_Runs = Mapping[tuple[str, int], RunResult]


def is_decided(experiment: Experiment, spec: RunSpec) -> bool:
    """Return whether each test variant's effect on the primary metric is known.

    Known is: it is not 1, or it lies within MARGIN of it.
    """
    manifest = experiment.manifest()
    groups = {(s.scheduler, s.workload, s.variant) for s in manifest.specs}
    level = 1 - ALPHA / max(sum(v != CONTROL for *_, v in groups), 1)
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
    variants = {s.variant for s in cell} - {CONTROL}
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
    logs = np.array(list(_log_ratios(runs, variant, frozenset(blocks))))
    if len(logs) < FEWEST_BLOCKS:
        return False
    found = block_effect(logs, level, how)
    if not found.is_known:
        return False
    ratio = tuple(float(np.exp(v)) for v in (found.low, found.high))
    return found.low > 0 or found.high < 0 or is_inside_margin("ratio", *ratio)


def _log_ratios(runs: _Runs, variant: str, blocks: Collection[int]) -> Iterator[float]:
    """Yield log(test/control) of the first metric, a block each.

    Of the blocks that have both.
    """
    for (arm, block), test in sorted(runs.items(), key=lambda item: item[0]):
        if block not in blocks:
            continue
        control = runs.get((CONTROL, block))
        if arm != variant or control is None or not control.metrics:
            continue
        first = control.metrics[0]
        values = [m.value for m in test.metrics if m.name == first.name]
        if values and values[0] > 0 and first.value > 0:
            yield float(np.log(values[0] / first.value))
