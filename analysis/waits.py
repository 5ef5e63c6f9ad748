# SPDX-License-Identifier: GPL-2.0-only
"""The run-queue latency of every drawn run, as one table of histogram buckets."""

from __future__ import annotations

import pandas as pd

from analysis.load import Data
from analysis.measures import KEYS

COLUMNS = [*KEYS, "from_us", "to_us", "count"]


def histograms(data: Data) -> pd.DataFrame:
    """The buckets of every drawn run that recorded them (COLUMNS), shortest first."""
    frames = []
    for row in data.runs[data.runs["drawn"]].to_dict("records"):
        found = data.histograms.get(row["run_id"])
        if found is not None and any(found.count):
            keys = {k: row[k] for k in KEYS}
            frames.append(pd.DataFrame(vars(found)).assign(**keys)[COLUMNS])
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame([], None, COLUMNS)
    )
