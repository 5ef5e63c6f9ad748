# SPDX-License-Identifier: GPL-2.0-only
"""What is measured of every run, as a row each; and all of it as one long table."""

from __future__ import annotations

import pandas as pd

from analysis.load import Data
from analysis.measures import KEYS, MEASURES, TIDY
from analysis.run_stats import WITHIN, run_stats


def per_run(data: Data) -> pd.DataFrame:
    """One row per used run: KEYS and the values of run_stats()."""
    used = data.runs[data.runs["used"]]
    limits = used.set_index("run_id")["max_entries"].to_dict()
    by_key = dict(list(data.samples.groupby(KEYS, sort=False)))
    rows = []
    for row in used[[*KEYS, "run_id"]].to_dict("records"):
        key = tuple(row[k] for k in KEYS)
        values = run_stats(by_key[key], limits[row["run_id"]])
        # A run without the sampler of that column has the whole of it all the same
        if (load_cpu_s := data.facts[row["run_id"]].load_cpu_s) is not None:
            values["load_cpu_s"] = load_cpu_s
        rows.append({**dict(zip(KEYS, key, strict=True)), **values})
    names = [*KEYS, *(m.name for m in MEASURES), *WITHIN]
    return pd.DataFrame(rows, columns=names)


def tidy(data: Data, runs: pd.DataFrame) -> pd.DataFrame:
    """Measures and workload metrics alike, one value a row (columns TIDY)."""
    parts = [
        runs[KEYS].assign(
            metric=m.name,
            unit=m.unit,
            lower_is_better=m.lower_is_better,
            source="samples",
            value=runs[m.name].astype(float),
        )
        for m in MEASURES
    ]
    workload = data.metrics.rename(columns={"name": "metric"})
    parts.append(workload.assign(source="workload")[TIDY])
    parts = [p for p in parts if not p.empty]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TIDY)
