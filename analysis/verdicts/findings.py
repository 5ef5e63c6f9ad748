# SPDX-License-Identifier: GPL-2.0-only
"""All that is found in one experiment: what the report and the terminal show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.compare.noise import Noise, newest_noise, noise_of
from analysis.compare.overhead import MEASURED, Ledger, ledger_of, newest_ledger
from analysis.compare.within_experiment import Comparison, compare
from analysis.load.frames import Data
from analysis.load.measures import COMPARED
from analysis.load.summary import summary
from analysis.load.tidy import per_run, tidy
from analysis.verdicts.answer import Answer, answers
from analysis.verdicts.criteria import Verdict, judge
from analysis.verdicts.memory import Memory, memory


@dataclass(frozen=True)
class Findings:
    """``runs`` is tidy.per_run(), ``summary`` summary.summary().

    ``ledger`` and ``noise`` are those of the machine, or of the experiment itself where
    it is a ledger or A/A. Without a cleanup as its treatment an experiment has no
    verdicts: there is no claim about entries.
    """

    data: Data
    runs: pd.DataFrame
    summary: pd.DataFrame
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    answers: tuple[Answer, ...]
    memory: tuple[Memory, ...]
    ledger: Ledger | None
    noise: Noise | None

    @property
    def is_aa(self) -> bool:
        """Whether control was set against itself."""
        return self.data.manifest.treatment == "none"

    @property
    def is_ledger(self) -> bool:
        """Whether the samplers are what was measured."""
        return self.data.manifest.treatment == "samplers"


def find(data: Data) -> Findings:
    """Return all of it, from what was read and what stands beside it.

    What the experiment is, its manifest says.
    """
    manifest = data.manifest
    is_aa, is_ledger = manifest.treatment == "none", manifest.treatment == "samplers"
    measures = MEASURED if is_ledger else () if is_aa else COMPARED
    runs = per_run(data)
    table = tidy(data, runs, measures)
    comparisons = compare(data, table, measures)
    beside, facts = data.experiment.path.parent, manifest.facts
    has_claims = not (is_aa or is_ledger)
    verdicts = judge(data, runs, comparisons) if has_claims else []
    return Findings(
        data=data,
        runs=runs,
        summary=summary(data),
        comparisons=tuple(comparisons),
        verdicts=tuple(verdicts),
        answers=answers(data, verdicts, comparisons),
        memory=tuple(memory(runs)) if has_claims else (),
        ledger=(
            ledger_of(data, comparisons) if is_ledger else newest_ledger(beside, facts)
        ),
        noise=(
            noise_of(data, comparisons, table)
            if is_aa
            else None
            if is_ledger
            else newest_noise(beside, facts)
        ),
    )
