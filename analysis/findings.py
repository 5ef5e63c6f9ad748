# SPDX-License-Identifier: GPL-2.0-only
"""All that is found in one experiment: what the report and the terminal show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis import ledger, noise, tables
from analysis.compare import Comparison, compare
from analysis.ledger import Ledger
from analysis.load import Data
from analysis.measures import COMPARED
from analysis.measuring import Measuring, measuring
from analysis.memory import Memory, memory
from analysis.noise import Noise
from analysis.per_run import per_run, tidy
from analysis.verdicts import Verdict, judge


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
    verdicts: tuple[Verdict, ...]
    memory: tuple[Memory, ...]
    measuring: Measuring
    ledger: Ledger | None
    noise: Noise | None

    @property
    def is_aa(self) -> bool:
        return noise.is_noise(self.data.manifest)


def find(data: Data) -> Findings:
    """All of it, from what was read; looks for the machine's ledger beside `data`."""
    if ledger.is_ledger(data.manifest):
        return _find_ledger(data)
    if noise.is_noise(data.manifest):
        return _find_noise(data)
    runs = per_run(data)
    table = tidy(data, runs, COMPARED)
    comparisons = compare(data, table, COMPARED)
    beside = data.experiment.path.parent
    of_machine = ledger.newest_ledger(beside, data.manifest.facts)
    return Findings(
        data=data,
        runs=runs,
        summary=tables.summary(data),
        comparisons=tuple(comparisons),
        verdicts=tuple(judge(data, runs, comparisons)),
        memory=tuple(memory(runs)),
        measuring=measuring(data, of_machine),
        ledger=None,
        noise=noise.newest_noise(beside, data.manifest.facts),
    )


def _find_noise(data: Data) -> Findings:
    """Of an A/A experiment: what differs in it is noise, or a false positive."""
    runs = per_run(data)
    table = tidy(data, runs, ())
    comparisons = compare(data, table, ())
    of_machine = ledger.newest_ledger(data.experiment.path.parent, data.manifest.facts)
    return Findings(
        data=data,
        runs=runs,
        summary=tables.summary(data),
        comparisons=tuple(comparisons),
        verdicts=(),
        memory=(),
        measuring=measuring(data, of_machine),
        ledger=None,
        noise=noise.noise_of(data, comparisons, table),
    )


def _find_ledger(data: Data) -> Findings:
    runs = per_run(data)
    table = tidy(data, runs, ledger.MEASURED)
    comparisons = compare(data, table, ledger.MEASURED)
    itself = ledger.ledger_of(data, comparisons)
    return Findings(
        data=data,
        runs=runs,
        summary=tables.summary(data),
        comparisons=tuple(comparisons),
        verdicts=(),
        memory=(),
        measuring=measuring(data, itself),
        ledger=itself,
        noise=None,
    )
