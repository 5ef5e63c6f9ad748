# SPDX-License-Identifier: GPL-2.0-only
"""Figures that are described and not yet drawn, so that none is drawn twice.

A sketch holds all that its figure shows, and nothing else: a figure that was drawn from
an equal sketch, by the same code, is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

#: Ink and paper of the files; a page that inlines them replaces both by its own.
INK, PAPER, FAINT = "#1c2024", "#fffffe", "#8a9099"


@dataclass(frozen=True)
class Text:
    """What a figure says in words: the finding, and what it is drawn from."""

    finding: str
    basis: str


@dataclass(frozen=True)
class Series:
    """A column of the samples over time, and how its axis is labelled."""

    column: str
    label: str
    limit: float = np.nan  # of a value which it cannot exceed
    limit_label: str = ""


@dataclass(frozen=True)
class Sketch:
    """A figure: the stem of its file, where it belongs, how and from what to draw it.

    ``painter`` is one of painting.painters(); ``shown`` is what that takes before the
    text.
    """

    name: str
    scheduler: str
    workload: str
    text: Text
    painter: str
    shown: tuple[object, ...]

    @property
    def key(self) -> str:
        """A hash of all that is to be seen in the figure."""
        seen = repr([self.painter, _plain(self.text), _plain(self.shown)])
        return hashlib.sha256(seen.encode()).hexdigest()


@dataclass(frozen=True)
class Drawn:
    """A figure: the stem of its file, where it belongs, its words and its bytes."""

    name: str
    scheduler: str
    workload: str
    finding: str
    svg: bytes


def rows(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return these columns alone and numbered anew.

    Where rows were before is not shown.
    """
    return frame[list(columns)].reset_index(drop=True)


def _plain(value: object) -> Any:
    """Return `value` so that its repr() tells all of it.

    It is equal for what is equal.
    """
    if isinstance(value, pd.DataFrame):
        return [(name, _of_column(column)) for name, column in value.items()]
    if is_dataclass(value):
        return type(value).__name__, _plain(vars(value))
    if isinstance(value, Mapping):
        return [(k, _plain(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _of_column(column: pd.Series[Any]) -> object:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        numbers = column.to_numpy()
        return numbers.dtype.str, hashlib.sha256(numbers.tobytes()).hexdigest()
    return column.tolist()
