# SPDX-License-Identifier: GPL-2.0-only
"""How many entries the scheduler's task map holds, and what memory it takes.

One map is watched, with every sample; the others of the scheduler's programs are looked
at when a run begins and when it ends. How entries are counted depends on the kernel and
is a fact of the run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.columns import Column, Kind
from experiments.kernel import bpf, map_count
from experiments.kernel.procfs import KeptFile
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


def _infos(maps: Mapping[str, int]) -> Mapping[str, bpf.MapInfo]:
    """Return the maps by name.

    Without those that have gone, as the scheduler may be thrown out.
    """
    infos = {}
    for name, map_id in maps.items():
        try:
            fd = bpf.open_map(map_id)
        except FileNotFoundError:
            continue
        infos[name] = bpf.map_info(fd)
        os.close(fd)
    return infos


def largest_hash(infos: Mapping[str, bpf.MapInfo]) -> str:
    """Return the name of the likeliest per-task map: keyed by pid or pointer.

    The largest one of those with keys of 4 or 8 bytes; empty when there is none.
    """
    sizes = {
        name: info.max_entries
        for name, info in infos.items()
        if info.type in bpf.HASHES and info.key_size in (4, 8)
    }
    return max(sizes, key=lambda name: sizes[name], default="")


def watched(job: Job, loaded: LoadedScheduler) -> tuple[str, bpf.MapInfo | None]:
    """Return the name of the map to watch, and what it is if it is there."""
    infos = _infos(loaded.maps)
    name = (job.built.tasks_map if job.built else "") or largest_hash(infos)
    return name, infos.get(name[:15])


ENTRIES = Column("map_entries", "entries", "entries of the map", Kind.GAUGE)


class BpfMapSampler(Sampler):
    name = "bpf-map"
    columns = (
        ENTRIES,
        Column("map_memlock_kb", "kB", "memory of the map", Kind.GAUGE),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._maps = loaded.maps
        self._bin_dir = job.bin_dir
        self._wanted, self._info = watched(job, loaded)
        self._fd = -1
        self._fdinfo: KeptFile | None = None
        self._counter: map_count.EntryCounter | None = None
        with contextlib.suppress(FileNotFoundError):
            if self._info is not None:
                self._fd = bpf.open_map(self._info.id)
                self._fdinfo = KeptFile(bpf.fdinfo(self._fd))
                self._counter = map_count.choose(self._fd, job.bin_dir)
        # What was refused for one map is not tried for all the others
        refused = map_count.METHODS.index(type(self._counter)) if self._counter else 0
        self._methods = map_count.METHODS[refused:]
        self._first = self._look()

    def missing(self) -> Sequence[str]:
        if self._info is None or self._fd < 0:
            named = f"map {self._wanted!r}" if self._wanted else "hash map of tasks"
            return (f"the scheduler's programs use no {named}",)
        if self._counter is None:
            kind = self._info.type_name.replace("_", " ")
            return (f"the kernel does not count the entries of {kind}",)
        return ()

    def facts(self) -> Mapping[str, Any]:
        assert self._info is not None and self._counter is not None
        return {
            "map": self._wanted,
            "map_id": self._info.id,
            "map_max_entries": self._info.max_entries,
            "map_entries_by": self._counter.name,
        }

    @property
    def map_id(self) -> int:
        assert self._info is not None
        return self._info.id

    def entries(self) -> int | None:
        """Return live entries now; None when they could not be counted."""
        return self._counter.count() if self._counter is not None else None

    def sample(self) -> Mapping[str, float]:
        assert self._fdinfo is not None
        values = {"map_memlock_kb": bpf.memlock_bytes(self._fdinfo.text()) / 1024}
        if (entries := self.entries()) is not None:
            values["map_entries"] = entries
        return values

    def _look(self) -> Mapping[str, map_count.MapState]:
        found = {
            name: map_count.look(map_id, self._bin_dir, self._methods)
            for name, map_id in self._maps.items()
        }
        return {name: state for name, state in found.items() if state is not None}

    def finish(self) -> Mapping[str, Any]:
        """Return the fact `maps`: all maps of the scheduler, first and last.

        What is not known is None: the entries of maps without a count, and all
        of a map that has gone.
        """
        last = self._look()
        return {"maps": {n: _history(s, last.get(n)) for n, s in self._first.items()}}

    def close(self) -> None:
        if self._counter is not None:
            self._counter.close()
        if self._fdinfo is not None:
            self._fdinfo.close()
        if self._fd >= 0:
            os.close(self._fd)


def _history(
    first: map_count.MapState, last: map_count.MapState | None
) -> Mapping[str, Any]:
    return {
        "type": first.type,
        "max_entries": first.max_entries,
        "entries_first": first.entries,
        "entries_last": last.entries if last else None,
        "memlock_kb_last": last.memlock_kb if last else None,
    }


SAMPLER = BpfMapSampler
