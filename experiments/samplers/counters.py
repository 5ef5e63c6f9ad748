# SPDX-License-Identifier: GPL-2.0-only
"""What the scheduler itself counts of its clean-up, read from its .bss.

Two columns follow from the counters and from a census of the map:

    leaked           entries whose task has exited
    false_evictions  entries evicted while their task had not

Every exit of a task that has an entry is counted (`left_behind`), and marks the entry.
Such an entry stays leaked until it is evicted, or until a new task of its pid takes it
over (`reused`). So

    leaked = left_behind - reused - (evicted - evicted_alive)

holds at all times. Where the kernel or the module evicts, it does not say whom: there
the marked entries are counted, and the equation gives `evicted_alive`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.columns import Column, Kind
from experiments.kernel import bpf
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler
from experiments.samplers.bpf_map import ENTRIES

_FIRST_KEY = bytes(4)
_COUNTER = Kind.COUNTER
#: Counters that are columns, by their names in struct cleanup_counters.
_COLUMNS = {
    "inserted": Column("inserted", "entries", "entries put in", _COUNTER),
    "insert_failures": Column("insert_failures", "inserts", "failed inserts", _COUNTER),
    "evicted": Column("evictions", "entries", "entries the clean-up removed", _COUNTER),
    "scans": Column("scans", "scans", "scans", _COUNTER),
    "scanned": Column("scanned", "entries", "entries that scans visited", _COUNTER),
    "budget_hits": Column("budget_hits", "scans", "scans the budget ended", _COUNTER),
    "refused": Column(
        "scans_refused", "scans", "scans not begun, as another CPU was at it", _COUNTER
    ),
    "longest_scan_ns": Column("longest_scan_ns", "ns", "longest scan", Kind.PEAK),
    "scan_time_ns": Column("scan_time_ns", "ns", "time in scans", _COUNTER),
    "evicted_alive": Column(
        "false_evictions", "entries", "entries evicted of live tasks", _COUNTER
    ),
    "leaked": Column("leaked", "entries", "entries whose task has exited", Kind.GAUGE),
    "entries": ENTRIES,  # of a map that cannot be counted
}

#: Kinds of maps whose entries come and go without the scheduler.
_LRU, _STORAGE = "lru_hash", "task_storage"


def balance(counters: Mapping[str, int]) -> int:
    """Return entries that must be in the map, by what was put in and taken out."""
    return counters["inserted"] - counters["dropped"] - counters["evicted"]


def derive(
    counters: Mapping[str, int],
    map_type: str,
    census: tuple[int, int] | None,
    needs_census: bool = False,
) -> dict[str, int]:
    """Return `counters` completed by what follows from them.

    `census` is (entries, marked entries) of a walk at the same time, or None where
    the counters tell all, or where none could be made.
    """
    full = dict(counters)
    if map_type == _STORAGE:
        full["entries"] = balance(full)
    if map_type == _LRU and census is not None:
        # Tasks may come between the counters and the census
        full["evicted"] = max(0, full["inserted"] - full["dropped"] - census[0])
    dead = full["left_behind"] - full["reused"]
    if census is not None:
        full["leaked"] = census[1]
        full["evicted_alive"] = max(0, full["evicted"] - (dead - census[1]))
    elif not needs_census:
        full["leaked"] = dead - (full["evicted"] - full["evicted_alive"])
    return full


class CountersSampler(Sampler):
    name = "counters"
    columns = (*_COLUMNS.values(),)

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        built = job.built
        self._offsets = built.counters if built else {}
        self._needs_census = built.needs_census if built else False
        self._exited_at = built.record.get("exited") if built else None
        self._fd = self._tasks = -1
        self._map_type = ""
        if built and self._offsets and built.counters_map[:15] in loaded.maps:
            self._fd = bpf.open_map(loaded.maps[built.counters_map[:15]])
            self._size = bpf.map_info(self._fd).value_size
        if built and self._fd >= 0 and built.tasks_map[:15] in loaded.maps:
            self._tasks = bpf.open_map(loaded.maps[built.tasks_map[:15]])
            self._info = bpf.map_info(self._tasks)
            self._map_type = self._info.type_name

    def missing(self) -> Sequence[str]:
        return () if self._fd >= 0 else ("the scheduler has no counters of its own",)

    def facts(self) -> Mapping[str, Any]:
        by = "census of the map" if self._needs_census else "counters of the scheduler"
        return {"leaked_by": by}

    def _census(self) -> tuple[int, int] | None:
        if self._tasks < 0 or not self._needs_census or self._exited_at is None:
            return None
        entries = marked = 0
        for value in bpf.walk_values(self._tasks, self._info):
            entries += 1
            marked += struct.unpack_from("=Q", value, self._exited_at)[0]
        return entries, marked

    @property
    def counts_evictions(self) -> bool:
        """Whether `evicted` is a count of its own; with lru it is a difference."""
        return self._map_type != _LRU

    def read(self) -> dict[str, int]:
        """Return the members of struct cleanup_counters, and what follows."""
        raw = bpf.lookup(self._fd, _FIRST_KEY, self._size)
        counters = {
            name: struct.unpack_from("=Q", raw, offset)[0]
            for name, offset in self._offsets.items()
        }
        census = self._census()
        return derive(counters, self._map_type, census, self._needs_census)

    def sample(self) -> Mapping[str, float]:
        read = self.read()
        columns = {_COLUMNS[k].name: v for k, v in read.items() if k in _COLUMNS}
        if self._needs_census and self._exited_at is None:
            del columns["false_evictions"]
        return columns

    def close(self) -> None:
        for fd in (self._fd, self._tasks):
            if fd >= 0:
                os.close(fd)


SAMPLER = CountersSampler
