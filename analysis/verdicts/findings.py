# SPDX-License-Identifier: GPL-2.0-only
"""All that is found in one experiment: what the report and the terminal show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.compare import noise
from analysis.compare import overhead as ledger
from analysis.compare.noise import Noise
from analysis.compare.overhead import Ledger
from analysis.compare.within_experiment import Comparison, compare
from analysis.load.frames import Data
from analysis.load.tidy import per_run, tidy
from analysis.report import tables
from analysis.report.overhead_table import Measuring, measuring
from analysis.verdicts.criteria import Verdict, judge
from analysis.verdicts.memory import Memory, memory


@dataclass(frozen=True)
class Findings:
    """``runs`` is per_run.per_run(), ``summary`` tables.summary().

    ``noise`` is that of the machine, or of the experiment itself if it is A/A.
    ``ledger`` is the experiment itself where it is one: it has no verdicts then, for
    without a clean-up there is no claim about entries. The ledger of the machine on
    which any other experiment was run is in ``measuring``.
    """

    data: Data
    runs: pd.DataFrame
    summary: pd.DataFrame
    comparisons: tuple[Comparison, ...]
    measuring: Measuring
    verdicts: tuple[Verdict, ...] = ()
    memory: tuple[Memory, ...] = ()
    ledger: Ledger | None = None
    noise: Noise | None = None

    @property
    def is_aa(self) -> bool:
        return noise.is_noise(self.data.manifest)


def find(data: Data) -> Findings:
    """All of it, from what was read; looks for the machine's ledger beside `data`."""
    runs = per_run(data)
    table = tidy(data, runs)
    beside, facts = data.experiment.path.parent, data.manifest.facts

    def found(of: Ledger | None, comparisons: Sequence[Comparison]) -> Findings:
        summary = tables.summary(data, table)
        costs = measuring(data, of)
        return Findings(data, runs, summary, tuple(comparisons), costs)

    if ledger.is_ledger(data.manifest):
        comparisons = compare(data, table, ledger.MEASURED)
        itself = ledger.ledger_of(data, comparisons)
        return replace(found(itself, comparisons), ledger=itself)
    of_machine = ledger.newest_ledger(beside, facts)
    if noise.is_noise(data.manifest):
        # What differs between control and itself is noise, or a false positive
        comparisons = compare(data, table, ())
        of_itself = noise.noise_of(data, comparisons, table)
        return replace(found(of_machine, comparisons), noise=of_itself)
    comparisons = compare(data, table)
    return replace(
        found(of_machine, comparisons),
        verdicts=tuple(judge(data, runs, comparisons)),
        memory=tuple(memory(runs)),
        noise=noise.newest_noise(beside, facts),
    )
