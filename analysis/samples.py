# SPDX-License-Identifier: GPL-2.0-only
"""A run's CSV file: sound rows of numbers, or the reason why it is not that."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from experiments.errors import FormatError
from experiments.model import CSV_COLUMNS, RunSpec

#: The columns that every CSV file has; files of older programs end here.
REQUIRED = CSV_COLUMNS[:5]


def read_samples(text: str) -> pd.DataFrame:
    """The rows of a run's CSV: float columns CSV_COLUMNS, NaN where a cell is absent.

    Raises FormatError saying what is wrong: no header, a header again, a line cut
    short, a cell which is no number, a clock which runs backwards.
    """
    if not text.strip():
        raise FormatError("the file is empty")
    lines = text.split("\n")
    header = _checked_header(lines[0].rstrip("\r"))
    _check_lines(lines, len(header))
    try:
        frame = pd.read_csv(io.StringIO(text), dtype=float, skip_blank_lines=False)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"a cell is not a number: {error}") from None
    _check_values(frame)
    return frame.reindex(columns=list(CSV_COLUMNS))


def check_span(frame: pd.DataFrame, spec: RunSpec) -> None:
    """A file cut at the end of a line looks sound, but covers too little time."""
    covered = float(frame["timestamp"].iloc[-1])
    if covered < 0.5 * spec.duration_s - spec.sample_interval_s:
        raise FormatError(
            f"truncated: the samples cover {covered:.1f} s of {spec.duration_s:g} s"
        )


def _checked_header(line: str) -> list[str]:
    header = line.split(",")
    known = len(CSV_COLUMNS)
    if len(header) < len(REQUIRED) or header[:known] != list(
        CSV_COLUMNS[: len(header)]
    ):
        raise FormatError(f"the first line is not the header: {line[:80]!r}")
    if len(set(header)) < len(header):
        raise FormatError("the header names a column twice")
    return header


def _check_lines(lines: list[str], columns: int) -> None:
    if lines[-1]:
        raise FormatError(f"truncated: line {len(lines)} has no end")
    for number, line in enumerate(lines[1:-1], start=2):
        if line.startswith(REQUIRED[0]):
            raise FormatError(f"line {number} is a header again")
        if '"' in line or line.count(",") != columns - 1:
            cells = line.count(",") + 1
            raise FormatError(f"line {number} has {cells} cells, not {columns}")


def _check_values(frame: pd.DataFrame) -> None:
    if frame.empty:
        raise FormatError("a header and no samples")
    values = frame.to_numpy(dtype=float)
    if np.isinf(values).any():
        raise FormatError("a cell is infinite")
    if (values < 0).any():
        raise FormatError("a cell is negative")
    clock = frame["timestamp"].to_numpy(dtype=float)
    if np.isnan(clock).any() or (np.diff(clock) < 0).any():
        raise FormatError("the timestamps have gaps or run backwards")
