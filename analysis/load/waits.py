# SPDX-License-Identifier: GPL-2.0-only
"""The run-queue latency of every drawn run, as one table of histogram buckets."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from analysis.load.frames import Data
from analysis.load.measures import KEYS

COLUMNS = [*KEYS, "from_us", "to_us", "count"]


def histograms(data: Data) -> pd.DataFrame:
    """Return the buckets of the drawn runs that have them, shortest first."""
    drawn = data.runs[data.runs["drawn"]]
    of = [data.histograms.get(run_id) for run_id in drawn["run_id"]]
    there = [i for i, found in enumerate(of) if found is not None and any(found.count)]
    found = [h for i in there if (h := of[i]) is not None]
    if not found:
        return pd.DataFrame([], None, COLUMNS)
    runs = drawn.iloc[np.repeat(there, [len(h.count) for h in found])]
    columns = {
        name: list(itertools.chain.from_iterable(getattr(h, name) for h in found))
        for name in COLUMNS[len(KEYS) :]
    }
    return runs[KEYS].reset_index(drop=True).assign(**columns)
