# SPDX-License-Identifier: GPL-2.0-only
"""The noise of a machine: what runs differ by when nothing does.

From an A/A experiment, in which test is control once more: claims about map entries
have no meaning in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from analysis.compare import same_machine
from analysis.compare.within_experiment import Comparison, compare
from analysis.load.frames import Data, load
from analysis.load.measures import DASH, number
from analysis.load.tidy import per_run, tidy
from analysis.stats import power
from experiments.store.experiment import Experiment

BLOCKS = (3, 5, 8, 12, 20)
EFFECTS_PERCENT = (3, 5, 10)

COLUMNS = [
    "scheduler",
    "workload",
    "metric",
    "unit",
    "n_blocks",
    "sd_percent",
    "sd_limit_percent",
    *(f"detects_percent_{n}_blocks" for n in BLOCKS),
    *(f"blocks_for_{e}_percent" for e in EFFECTS_PERCENT),
    "direction",
]


@dataclass(frozen=True)
class Noise:
    """An A/A experiment's name, when it was begun (ISO 8601), and its table (COLUMNS).

    ``sd_percent`` is the standard deviation of the ratio of two runs of a block, and
    ``sd_limit_percent`` its upper limit: by that, ``detects`` is the smallest change
    that so many blocks find with a power of 80 %, and ``blocks_for`` the blocks that
    find such a change, where one variant is judged. NaN where it is not known, or
    would take more than anybody would run. ``direction`` should be anything but better
    or worse: with nothing different, that is a false positive.
    """

    name: str
    created: str
    table: pd.DataFrame

    def blocks_for(
        self, workload: str, metric: str, ratio: float, together: int = 1
    ) -> int | None:
        """Return how many blocks find `ratio`, of so many effects judged `together`.

        By the noisiest scheduler that has the metric; None where none has.
        """
        of = self.table[
            (self.table["workload"] == workload) & (self.table["metric"] == metric)
        ]
        alpha = power.ALPHA / together
        limits = of["sd_limit_percent"] / 100
        needed = [power.blocks_needed(sd, ratio, alpha) for sd in limits]
        if not needed or None in needed:
            return None
        return max(n for n in needed if n is not None)

    def rich_table(self) -> Table:
        """Return a table for the terminal."""
        detects = [f"{n} blocks find %" for n in BLOCKS[:-1]]
        needs = [f"blocks for {e} %" for e in EFFECTS_PERCENT]
        heads = ("workload", "metric", "blocks", "noise %", *detects, *needs, "A/A is")
        shown = Table(*heads, box=None)
        for row in self.table.to_dict("records"):
            numbers = [
                row["sd_percent"],
                *(row[f"detects_percent_{n}_blocks"] for n in BLOCKS[:-1]),
                *(row[f"blocks_for_{e}_percent"] for e in EFFECTS_PERCENT),
            ]
            cells = [f"{row['workload']}", f"{row['metric']}", f"{row['n_blocks']}"]
            cells += [DASH if pd.isna(n) else number(float(n), 2) for n in numbers]
            shown.add_row(*map(Text, cells), row["direction"])
        return shown


def noise_of(data: Data, comparisons: Sequence[Comparison], values: Any) -> Noise:
    """Return the noise that `data` shows.

    `values` is the tidy table it was compared from.
    """
    rows = [_row(c, values) for c in comparisons if c.source == "workload"]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Noise(data.manifest.experiment, data.manifest.created, table)


def _row(c: Comparison, values: pd.DataFrame) -> dict[str, object]:
    sd = _sd_of_logs(c, values)
    limit = power.upper_limit(sd, c.n_blocks)
    return {
        **{k: getattr(c, k) for k in ("scheduler", "workload", "metric", "unit")},
        "n_blocks": c.n_blocks,
        "sd_percent": 100 * sd,
        "sd_limit_percent": 100 * limit,
        **{
            f"detects_percent_{n}_blocks": 100 * (power.detectable(limit, n) - 1)
            for n in BLOCKS
        },
        **{
            f"blocks_for_{e}_percent": power.blocks_needed(limit, 1 + e / 100)
            for e in EFFECTS_PERCENT
        },
        "direction": c.direction,
    }


def _sd_of_logs(c: Comparison, values: pd.DataFrame) -> float:
    """Return NaN for a metric that is not always positive."""
    if c.kind != "ratio":
        return math.nan
    here = values[
        (values["scheduler"] == c.scheduler)
        & (values["workload"] == c.workload)
        & (values["metric"] == c.metric)
    ]
    arms = here.pivot_table(index="block", columns="variant", values="value").dropna()
    control, test = arms["control"].to_numpy(float), arms[c.variant].to_numpy(float)
    return power.noise(control, test)


def read_noise(experiment: Experiment) -> Noise:
    """Return the noise in a directory.

    Raises FormatError when its manifest is not sound.
    """
    data = load(experiment)
    values = tidy(data, per_run(data), ())
    return noise_of(data, compare(data, values, ()), values)


def newest_noise(results: Path, facts: Mapping[str, Any]) -> Noise | None:
    """Return that of the last A/A experiment on the machine of `facts`."""
    found: Iterator[Noise] = map(
        read_noise, same_machine.newest(results, facts, "none")
    )
    return next((noise for noise in found if not noise.table.empty), None)
