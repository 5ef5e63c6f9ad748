# SPDX-License-Identifier: GPL-2.0-only
"""A run's CSV file: sound rows of numbers, or the reason why it is not that."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.load.measures import COLUMNS
from analysis.stats.estimators import Array
from experiments.columns import REQUIRED, is_header
from experiments.errors import FormatError
from experiments.model import RunSpec

#: The share of a run's time that its samples cover, give or take one of them.
LEAST_SPAN = 0.9
#: The share of a run's time in which there may be no sample on the way.
LARGEST_HOLE = 0.25

_OF_NUMBERS = b"0123456789.+-eE"


def read_samples(text: str) -> pd.DataFrame:
    """Return the rows of a run's CSV: float columns COLUMNS, NaN where absent.

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
    _check_values(frame.to_numpy(dtype=float))
    return frame.reindex(columns=list(COLUMNS))


def read_many(files: Sequence[bytes]) -> list[Array | FormatError]:
    """Return the rows of each file, a column for each of COLUMNS; or what is wrong.

    The same as read_samples() of each. Most of that one's time is spent before the
    first number is read, so files with the same header are read as one.
    """
    found: dict[int, Array | FormatError] = {}
    alike: dict[bytes, list[int]] = {}
    for i, text in enumerate(files):
        header, _, body = text.partition(b"\n")
        if _is_plain(header, body):
            alike.setdefault(header, []).append(i)
    for header, places in alike.items():
        bodies = [files[i][len(header) + 1 :] for i in places]
        found.update(zip(places, _read_together(header, bodies), strict=False))
    return [
        found[i] if i in found else _read_alone(text) for i, text in enumerate(files)
    ]


def _is_plain(header: bytes, body: bytes) -> bool:
    """Return whether only the numbers can be wrong.

    If not, another look says what is.
    """
    names = tuple(header.decode("latin-1").split(","))
    line = b"," * (len(names) - 1) + b"\n"
    return (
        is_header(names)
        and names == COLUMNS[: len(names)]
        and body.translate(None, _OF_NUMBERS) == line * body.count(b"\n")
    )


def _read_together(header: bytes, bodies: list[bytes]) -> Iterator[Array | FormatError]:
    """Yield the rows of each file; nothing when one of them is not numbers.

    Each is to be read alone then.
    """
    lengths = [body.count(b"\n") for body in bodies]
    try:
        read = _numbers(header, b"".join(bodies))
    except (ValueError, OverflowError):
        return
    if len(read) != sum(lengths):
        return
    rows = read
    if read.shape[1] < len(COLUMNS):
        rows = np.full((len(read), len(COLUMNS)), np.nan, order="F")
        rows[:, : read.shape[1]] = read
    for part in np.split(rows, np.cumsum(lengths)[:-1]):
        try:
            _check_values(part)
        except FormatError as error:
            yield error
        else:
            yield part


def _numbers(header: bytes, body: bytes) -> Array:
    names = header.decode().split(",")
    return pd.read_csv(
        io.BytesIO(body),
        header=None,
        names=names,
        dtype=float,
        skip_blank_lines=False,
        low_memory=False,  # no parts to be joined: they are small
    ).to_numpy()


def _read_alone(text: bytes) -> Array | FormatError:
    try:
        return read_samples(text.decode()).to_numpy(dtype=float)
    except (FormatError, UnicodeDecodeError) as error:
        return FormatError(str(error))


def least_span(spec: RunSpec) -> float:
    """Return until when, in s, samples have to go on to speak for the whole run."""
    return LEAST_SPAN * spec.duration_s - spec.sample_interval_s


def check_span(rows: Array, spec: RunSpec) -> None:
    """Raise FormatError for a file that is cut at the end of a line, or has a hole.

    It looks sound, but covers too little time.
    """
    covered = float(rows[-1, 0])
    if covered < least_span(spec):
        raise FormatError(
            f"truncated: the samples cover {covered:.1f} s of {spec.duration_s:g} s"
        )
    hole = float(np.max(np.diff(rows[:, 0]), initial=0.0))
    if hole > max(LARGEST_HOLE * spec.duration_s, 3 * spec.sample_interval_s):
        raise FormatError(f"there are no samples for {hole:.1f} s on the way")


def _checked_header(line: str) -> list[str]:
    header = line.split(",")
    if not is_header(header):
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


def _check_values(values: Array) -> None:
    if not len(values):
        raise FormatError("a header and no samples")
    if np.isinf(values).any():
        raise FormatError("a cell is infinite")
    if (values < 0).any():
        raise FormatError("a cell is negative")
    clock = values[:, 0]
    if np.isnan(clock).any() or (np.diff(clock) < 0).any():
        raise FormatError("the timestamps have gaps or run backwards")
