# SPDX-License-Identifier: GPL-2.0-only
"""An experiment in one table: what its runs have, as medians over them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.load.arm_outcomes import ARM
from analysis.load.frames import Data
from analysis.load.measures import MEASURES, column
from experiments.model import Outcome

COUNTS = ["n_planned", "n_ok", "n_used"]


def summary(data: Data) -> pd.DataFrame:
    """Return one row per cell and variant: runs, and the medians over them.

    Columns: ARM, COUNTS, the names of MEASURES, and a column per workload metric
    (its name and unit). NaN where no run has the value.
    """
    counted = data.runs.assign(
        n_planned=1,
        n_ok=data.runs["outcome"] == Outcome.OK.value,
        n_used=data.runs["used"],
    )
    rows = counted.groupby(ARM, sort=True)[COUNTS].sum().astype(int)
    names = [measure.name for measure in MEASURES]
    rows[names] = data.measured.groupby(ARM)[names].median()
    for name, values in _of_metrics(data.metrics):
        rows[name] = values
    return rows.copy().reset_index()


def _of_metrics(metrics: pd.DataFrame) -> Iterable[tuple[str, pd.Series[float]]]:
    pairs = metrics[["name", "unit"]].drop_duplicates().itertuples(index=False)
    for metric, unit in pairs:
        here = metrics[(metrics["name"] == metric) & (metrics["unit"] == unit)]
        yield column(str(metric), str(unit)), here.groupby(ARM)["value"].median()
