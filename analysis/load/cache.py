# SPDX-License-Identifier: GPL-2.0-only
"""Records of runs, kept in `results/<experiment>/.cache/` so that none is made twice.

A record counts only while the run's files are those it was made from, by inode, size
and time of change, and the code is the code that made it. A cache that is not sound is
thrown away as a whole: everything in it can be had again.
"""

from __future__ import annotations

import functools
import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import scipy
from pydantic import TypeAdapter

from analysis.load.measures import DECLARED
from analysis.load.records import CURVE, Drawable, Record, Said
from analysis.load.run_facts import Histogram
from experiments import columns, model, paths
from experiments.store import experiment, schema

_T = TypeVar("_T")
_SAID = TypeAdapter(Said)
_HISTOGRAM = TypeAdapter(Histogram | None)

_TABLES = """
create table if not exists runs (
    run_id text primary key, stamp text, said blob, numbers blob, sum integer);
create table if not exists drawables (
    run_id text primary key, curve blob, histogram blob, sum integer);
"""


#: How long another aggregate of the same experiment is waited for.
_PATIENCE_S = 60


def _sources() -> list[Path]:
    """Whatever a record may depend on: the analysis, and the forms it reads."""
    modules = (columns, model, experiment, schema)
    forms = [Path(str(module.__file__)) for module in modules]
    return [*sorted((paths.PROJECT / "analysis").rglob("*.py")), *forms]


@functools.cache
def code_version() -> str:
    """A hash of the code that makes records: ours, and the libraries' versions."""
    text = b"".join(path.read_bytes() for path in _sources())
    versions = np.__version__, pd.__version__, scipy.__version__
    declared = repr((versions, DECLARED))
    return hashlib.sha256(text + declared.encode()).hexdigest()[:12]


class _Unsound(Exception):
    """Something in the cache is not what was put there."""


def use(folder: Path, work: Callable[[Cache], _T]) -> _T:
    """What `work` returns of the cache of the experiment in `folder`.

    It is begun again, with an empty cache, when the one on the disk turns out to be
    unsound, and with one in memory when none can be kept there.
    """
    path = folder / ".cache" / f"records-{code_version()}.sqlite"
    try:
        return _use(path, work)
    except sqlite3.OperationalError:
        pass
    except (_Unsound, sqlite3.DatabaseError):
        path.unlink(missing_ok=True)
        with suppress(sqlite3.OperationalError):
            return _use(path, work)
    return _use(None, work)


def _use(path: Path | None, work: Callable[[Cache], _T]) -> _T:
    if path is not None:
        _clear(path)
    where = ":memory:" if path is None else str(path)
    with closing(sqlite3.connect(where, timeout=_PATIENCE_S)) as database, database:
        return work(Cache(database))


def _clear(path: Path) -> None:
    """Make its directory, and take away what other code has left there."""
    try:
        path.parent.mkdir(exist_ok=True)
        for old in set(path.parent.glob("records-*")) - {path}:
            if not old.name.startswith(path.name):
                old.unlink()
    except OSError as error:
        raise sqlite3.OperationalError(str(error)) from None


class Cache:
    """The records of one experiment, by run id."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.executescript(_TABLES)

    def records(self, stamps: Mapping[str, str]) -> dict[str, Record]:
        """Those that are still true of runs with these stamps; without `drawable`."""
        query = "select run_id, stamp, said, numbers, sum from runs"
        return {
            row[0]: _record(*row)
            for row in self._database.execute(query)
            if row[1] == stamps.get(row[0])
        }

    def put(self, run_id: str, stamp: str, record: Record) -> None:
        """Keep a record made from files which had `stamp` before they were read."""
        said = _SAID.dump_json(record.said)
        numbers = None if record.numbers is None else record.numbers.tobytes()
        row = run_id, stamp, said, numbers
        self._insert("runs", *row, _sum(*row))
        if record.drawable is None:
            self._database.execute("delete from drawables where run_id = ?", (run_id,))
        else:
            curve = record.drawable.curve.tobytes()
            waits = _HISTOGRAM.dump_json(record.drawable.histogram)
            self._insert("drawables", run_id, curve, waits, _sum(run_id, curve, waits))

    def _insert(self, table: str, *row: object) -> None:
        places = ", ".join("?" * len(row))
        self._database.execute(f"insert or replace into {table} values ({places})", row)

    def save(self) -> None:
        """What was put so far stays, whatever happens."""
        self._database.commit()

    def drawable(self) -> set[str]:
        """The ids of the runs of which there is something to draw."""
        query = "select run_id from drawables"
        return {run_id for (run_id,) in self._database.execute(query)}

    def drawables(self, run_ids: Iterable[str]) -> dict[str, Drawable]:
        """Of runs whose records are true."""
        return {run_id: self._drawable(run_id) for run_id in run_ids}

    def _drawable(self, run_id: str) -> Drawable:
        query = "select run_id, curve, histogram, sum from drawables where run_id = ?"
        row = self._database.execute(query, (run_id,)).fetchone()
        if row is None or _sum(*row[:3]) != row[3]:
            raise _Unsound
        curve = np.frombuffer(row[1]).reshape(-1, len(CURVE))
        return Drawable(curve, _HISTOGRAM.validate_json(row[2]))


def _record(
    run_id: str, stamp: str, said: bytes, numbers: bytes | None, checked: int
) -> Record:
    if _sum(run_id, stamp, said, numbers) != checked:
        raise _Unsound
    values = None if numbers is None else np.frombuffer(numbers)
    return Record(_SAID.validate_json(said), values)


def _sum(*parts: object) -> int:
    """A checksum: SQLite notices a broken page, but not a changed number."""
    found = 0
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        found = zlib.crc32(data, found)
    return found
