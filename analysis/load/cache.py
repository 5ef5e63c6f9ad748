# SPDX-License-Identifier: GPL-2.0-only
"""Records of runs and figures, kept in `results/<experiment>/.cache/`: none made twice.

A record counts only while the run's files are those it was made from, by inode, size
and time of change; a figure is found by a hash of all that it shows. Both count only
while the code is the code that made them. A cache that is not sound is
thrown away as a whole: everything in it can be had again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from analysis.load.encoded import Encoded, drawable
from analysis.load.measures import DECLARED
from analysis.load.records import PlotData
from experiments import columns, model
from experiments.store import experiment, schema

_T = TypeVar("_T")

_TABLES = """
create table if not exists kinds (id integer primary key, words text unique);
create table if not exists runs (
    run_id text primary key, stamp text, kind integer, numbers blob, sum integer);
create table if not exists drawables (
    run_id text primary key, curve blob, histogram blob, sum integer);
create table if not exists figures (key text primary key, svg blob, sum integer);
"""

#: How long another aggregate of the same experiment is waited for.
_PATIENCE_S = 60


#: What decides beside our own code how a record or a figure comes out.
_LIBRARIES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn")


_ANALYSIS = Path(__file__).parents[1]


@functools.cache
def code_version() -> str:
    """Return a hash of our code and the libraries' versions.

    They decide how what is kept comes out.

    Of ours all of the analysis, so that no module can be forgotten.
    """
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    hashed = hashlib.sha256(repr((versions, DECLARED)).encode())
    for path in _sources():
        hashed.update(f"{path.name} {path.stat().st_size} ".encode())
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:12]


def _sources() -> list[Path]:
    """Return the analysis, and what says how the files of a run are read."""
    ours = sorted(_ANALYSIS.rglob("*.py"))
    return ours + [Path(str(m.__file__)) for m in (columns, model, experiment, schema)]


class _Unsound(Exception):
    """Something in the cache is not what was put there."""


def use(folder: Path, work: Callable[[Cache], _T]) -> _T:
    """Return what `work` returns of the cache of the experiment in `folder`.

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
    """The records of one experiment by run id, its figures by what they show."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._kinds: dict[str, int] = {}
        database.executescript(_TABLES)

    def records(self, stamps: Mapping[str, str]) -> dict[str, Encoded]:
        """Return records that are still true of runs with these stamps.

        Without their curves.
        """
        query = (
            "select run_id, stamp, words, numbers, sum "
            "from runs left join kinds on runs.kind = kinds.id"
        )
        words: dict[str, str] = {}
        return {
            row[0]: _record(words.setdefault(row[2], row[2]), row)
            for row in self._database.execute(query)
            if row[1] == stamps.get(row[0])
        }

    def put(self, run_id: str, stamp: str, record: Encoded) -> None:
        """Keep a record made from files which had `stamp` before they were read."""
        row = run_id, stamp, record.kind, record.numbers
        kind = self._kind(record.kind)
        self._insert("runs", run_id, stamp, kind, record.numbers, _sum(*row))
        if record.curve is None:
            self._database.execute("delete from drawables where run_id = ?", (run_id,))
        else:
            drawn = run_id, record.curve, record.histogram
            self._insert("drawables", *drawn, _sum(*drawn))

    def _kind(self, words: str) -> int:
        if words not in self._kinds:
            put = "insert or ignore into kinds (words) values (?)"
            self._database.execute(put, (words,))
            query = "select id from kinds where words = ?"
            (self._kinds[words],) = self._database.execute(query, (words,)).fetchone()
        return self._kinds[words]

    def _insert(self, table: str, *row: object) -> None:
        places = ", ".join("?" * len(row))
        self._database.execute(f"insert or replace into {table} values ({places})", row)

    def save(self) -> None:
        """Commit what was put so far: it stays, whatever happens."""
        self._database.commit()

    def drawable(self) -> set[str]:
        """Return the ids of the runs of which there is something to draw."""
        query = "select run_id from drawables"
        return {run_id for (run_id,) in self._database.execute(query)}

    def drawables(self, run_ids: Iterable[str]) -> dict[str, PlotData]:
        """Return what is drawn of runs whose records are true."""
        return {run_id: self._drawable(run_id) for run_id in run_ids}

    def _drawable(self, run_id: str) -> PlotData:
        query = "select run_id, curve, histogram, sum from drawables where run_id = ?"
        row = self._database.execute(query, (run_id,)).fetchone()
        if row is None or _sum(*row[:3]) != row[3]:
            raise _Unsound
        return drawable(row[1], row[2])

    def figures(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those of `keys` that are kept; the others are to be made."""
        found = {}
        query = "select key, svg, sum from figures where key = ?"
        for key in keys:
            row = self._database.execute(query, (key,)).fetchone()
            if row is not None:
                if _sum(*row[:2]) != row[2]:
                    raise _Unsound
                found[key] = row[1]
        return found

    def put_figures(self, figures: Mapping[str, bytes]) -> None:
        """Keep these by their keys, and no others."""
        there = {key for (key,) in self._database.execute("select key from figures")}
        for key in there - figures.keys():
            self._database.execute("delete from figures where key = ?", (key,))
        for key in figures.keys() - there:
            self._insert("figures", key, figures[key], _sum(key, figures[key]))


def _record(words: str, row: tuple[str, str, str, bytes, int]) -> Encoded:
    if _sum(*row[:4]) != row[4]:
        raise _Unsound
    return Encoded(words, row[3])


def _sum(*parts: object) -> int:
    """Return a checksum: SQLite notices a broken page, but not a changed number."""
    found = 0
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        found = zlib.crc32(data, found)
    return found
