# SPDX-License-Identifier: GPL-2.0-only
"""The overhead ledger: what each sampler does to each workload on one machine.

A ledger is an ordinary experiment whose name begins with `ledger-`. Its control runs
have no sampler, each `test-<sampler>` has that one, `test-default` those that are on by
default, and `test-all` all of them; no clean-up is in any. So test against control,
paired by block, is the cost of measuring, and claims about map entries have no meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from analysis.compare import same_machine
from analysis.compare.within_experiment import Comparison, compare
from analysis.load.frames import Data, load
from analysis.load.measures import DASH, change
from analysis.load.tidy import per_run, tidy
from analysis.load.variants import sampler_set, variants
from experiments.model import Variant
from experiments.store.experiment import Experiment

DEFAULT, ALL = "default", "all"

#: What is compared beside the workload's own metrics.
MEASURED = ("load_cpu_s",)

COLUMNS = [
    "scheduler",
    "workload",
    "sampler",
    "metric",
    "unit",
    "ratio",
    "low",
    "high",
    "n_blocks",
    "direction",
]


@dataclass(frozen=True)
class Ledger:
    """A ledger's name, when it was begun (ISO 8601), and its table (COLUMNS).

    ``ratio`` is with the sampler / without it, the geometric mean over ``n_blocks``
    blocks; ``low`` and ``high`` are its 95 % t interval on the log scale, NaN with
    fewer than 2 blocks. All three are NaN where a value was not positive.
    """

    name: str
    created: str
    table: pd.DataFrame

    def cell(self, row: Mapping[Any, Any]) -> tuple[str, str]:
        """Return the change in % and its interval of one row, as text."""
        if pd.isna(row["low"]):
            return change(row["ratio"]), DASH
        return change(row["ratio"]), f"{change(row['low'])} to {change(row['high'])}"

    def rich_table(self) -> Table:
        """Return a table for the terminal: the change by each sampler, in per cent."""
        heads = "workload sampler metric unit change_% interval_95_% blocks which_is"
        shown = Table(*(h.replace("_", " ") for h in heads.split()), box=None)
        for row in self.table.to_dict("records"):
            estimate, interval = self.cell(row)
            names = [str(row[k]) for k in ("workload", "sampler", "metric", "unit")]
            cells = [*names, estimate, interval, str(row["n_blocks"]), row["direction"]]
            shown.add_row(*map(Text, cells))
        return shown


def ledger_of(data: Data, comparisons: Sequence[Comparison]) -> Ledger:
    """Return the ledger that `data` is; its comparisons are those over MEASURED."""
    made = variants(data.manifest)
    table = pd.DataFrame(
        [_row(c, made) for c in comparisons if c.n_control and c.n_test],
        columns=COLUMNS,
    ).astype({"ratio": float, "low": float, "high": float, "n_blocks": int})
    order = ["scheduler", "workload", "rank", "sampler"]
    table = table.assign(rank=table["sampler"].map(rank))
    table = table.sort_values(order, kind="stable")
    manifest = data.manifest
    return Ledger(
        manifest.experiment, manifest.created, table[COLUMNS].reset_index(drop=True)
    )


def rank(sampler: str) -> int:
    """Return sets of samplers come after those that are alone."""
    return [DEFAULT, ALL].index(sampler) + 1 if sampler in (DEFAULT, ALL) else 0


def _row(c: Comparison, made: Mapping[str, Variant]) -> dict[str, object]:
    is_ratio = c.kind == "ratio"
    return {
        **{k: getattr(c, k) for k in ("scheduler", "workload", "metric", "unit")},
        "sampler": sampler_set(made[c.variant], list(made.values()), (DEFAULT, ALL)),
        "ratio": c.estimate if is_ratio else None,
        "low": c.ci_low if is_ratio else None,
        "high": c.ci_high if is_ratio else None,
        "n_blocks": c.n_blocks,
        "direction": c.direction,
    }


def read_ledger(experiment: Experiment) -> Ledger:
    """Return the ledger in a directory.

    Raises FormatError when its manifest is not sound.
    """
    data = load(experiment)
    return ledger_of(data, compare(data, tidy(data, per_run(data), MEASURED), MEASURED))


def newest_ledger(results: Path, facts: Mapping[str, Any]) -> Ledger | None:
    """Return the last ledger below `results` with figures of that machine.

    None when there is none.
    """
    for experiment in same_machine.newest(results, facts, "samplers"):
        if not (ledger := read_ledger(experiment)).table.empty:
            return ledger
    return None
