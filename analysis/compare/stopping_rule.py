# SPDX-License-Identifier: GPL-2.0-only
"""Whether a scheduler and a workload need another block of runs.

Asked after every block, so by a confidence sequence and not by a t interval; at the
level at which the report judges the same metric (analysis.compare).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from analysis.compare.effect import MARGIN
from analysis.stats.confidence_sequence import confidence_sequence
from analysis.stats.significance import ALPHA
from experiments.model import CONTROL, Outcome, RunResult, RunSpec
from experiments.store.experiment import Experiment

#: (variant, block) -> the result of the run, of those that are OK
_Runs = Mapping[tuple[str, int], RunResult]


def is_decided(experiment: Experiment, spec: RunSpec) -> bool:
    """Return whether each test variant's effect on the first metric is known.

    Known is: it is not 1, or it lies within MARGIN of it.
    """
    cell = [
        s
        for s in experiment.manifest().specs
        if (s.scheduler, s.workload) == (spec.scheduler, spec.workload)
    ]
    runs = {
        (s.variant, s.block): result
        for s in cell
        if (result := experiment.result(s)) and result.outcome is Outcome.OK
    }
    variants = {s.variant for s in cell} - {CONTROL}
    return bool(variants) and all(_is_known(runs, variant) for variant in variants)


def _is_known(runs: _Runs, variant: str) -> bool:
    logs = np.array(list(_log_ratios(runs, variant)))
    if len(logs) < 2:
        return False
    metrics = max(len(result.metrics) for result in runs.values())
    found = confidence_sequence(logs, 1 - ALPHA / metrics)
    margin = np.log1p(MARGIN)
    differs = found.low > 0 or found.high < 0
    return bool(differs or (-margin < found.low and found.high < margin))


def _log_ratios(runs: _Runs, variant: str) -> Iterator[float]:
    """Yield log(test/control) of the first metric, a block each.

    Of the blocks that have both.
    """
    for (arm, block), test in runs.items():
        control = runs.get((CONTROL, block))
        if arm != variant or control is None or not control.metrics:
            continue
        first = control.metrics[0]
        values = [m.value for m in test.metrics if m.name == first.name]
        if values and values[0] > 0 and first.value > 0:
            yield float(np.log(values[0] / first.value))
