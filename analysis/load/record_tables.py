# SPDX-License-Identifier: GPL-2.0-only
"""From blocks of encoded records to tables, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.load.encoded import COST, LATENESS, Block
from analysis.load.measures import KEYS
from analysis.load.records import NUMBERS

METRIC_COLUMNS = [*KEYS, "name", "value", "unit", "lower_is_better", "resolution"]
SAMPLING_COLUMNS = ["run_id", "sampler", *COST]
LATENESS_COLUMNS = ["run_id", *LATENESS]
AGENT_COLUMNS = ["run_id", "agent_cpu_s"]


def measured(runs: pd.DataFrame, blocks: Sequence[Block]) -> pd.DataFrame:
    """Return KEYS and NUMBERS of each used run, in their order.

    `runs` are Data.runs.
    """
    values = np.full((len(runs), len(NUMBERS)), np.nan)
    for block in blocks:
        values[block.places] = block.measured
    used = runs["used"].to_numpy()
    keys = runs.loc[used, KEYS].reset_index(drop=True)
    return pd.concat([keys, pd.DataFrame(values[used], columns=NUMBERS)], axis=1)


def metrics(runs: pd.DataFrame, blocks: Sequence[Block]) -> pd.DataFrame:
    """Return METRIC_COLUMNS, in the order of the runs, and of each run in its own."""
    parts = [
        _taken(runs, block, KEYS, len(block.kind.metrics)).assign(
            **{
                column: np.tile([getattr(m, column) for m in block.kind.metrics], n)
                for column in ("name", "unit", "lower_is_better")
            },
            value=block.metrics.ravel(),
            resolution=block.resolutions.ravel(),
        )
        for block in blocks
        if block.kind.metrics and (n := len(block.places))
    ]
    return _together(parts, METRIC_COLUMNS)


def sampling(runs: pd.DataFrame, blocks: Sequence[Block]) -> pd.DataFrame:
    """Return SAMPLING_COLUMNS, NaN where a cost is absent."""
    parts = [
        _taken(runs, block, ["run_id"], len(block.kind.samplers)).assign(
            sampler=np.tile(block.kind.samplers, len(block.places)),
            **dict(zip(COST, block.costs.reshape(-1, len(COST)).T, strict=True)),
        )
        for block in blocks
        if block.kind.samplers
    ]
    return _together(parts, SAMPLING_COLUMNS)


def numbers(
    runs: pd.DataFrame, blocks: Sequence[Block], name: str, columns: Sequence[str]
) -> pd.DataFrame:
    """Return the part `name` of the blocks that have it, beside the ids of the runs."""
    parts = [
        _taken(runs, block, ["run_id"], 1).assign(
            **dict(zip(columns[1:], values.T, strict=True))
        )
        for block in blocks
        if (values := getattr(block, name)).size
    ]
    return _together(parts, columns)


def _taken(
    runs: pd.DataFrame, block: Block, columns: Sequence[str], times: int
) -> pd.DataFrame:
    """Return these columns of each run of a block, so many times over."""
    return runs.loc[np.repeat(block.places, times), list(columns)]


def _together(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Join the rows in the order of the runs, whose places are their index."""
    if not parts:
        return pd.DataFrame(columns=list(columns))
    frame = pd.concat(parts) if len(parts) > 1 else parts[0]
    if not frame.index.is_monotonic_increasing:
        frame = frame.sort_index(kind="stable")
    return frame[list(columns)].reset_index(drop=True)
