# SPDX-License-Identifier: GPL-2.0-only
"""What is measured of every run, as a row each; and all of it as one long table."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from analysis.load.frames import Data
from analysis.load.measures import KEYS, MEASURES, TIDY

ALL = frozenset(m.name for m in MEASURES)


def per_run(data: Data) -> pd.DataFrame:
    """Return one row per used run: KEYS and the values of run_stats()."""
    return data.measured


def tidy(
    data: Data, runs: pd.DataFrame, measures: Collection[str] = ALL
) -> pd.DataFrame:
    """Return these measures and the workload metrics, one value a row (TIDY)."""
    parts = [
        runs[KEYS].assign(
            metric=m.name,
            unit=m.unit,
            lower_is_better=m.lower_is_better,
            source="samples",
            value=runs[m.name].astype(float),
            resolution=0.0,
        )
        for m in MEASURES
        if m.name in measures
    ]
    workload = data.metrics.rename(columns={"name": "metric"})
    parts.append(workload.assign(source="workload")[TIDY])
    parts = [p for p in parts if not p.empty]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TIDY)
