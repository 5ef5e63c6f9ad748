# SPDX-License-Identifier: GPL-2.0-only
"""How many entries the scheduler's task map holds, and what memory it takes.

The count comes from the pinned iterator of mapcount.bpf.c in O(CPUs), whatever the size
of the map; on a kernel without bpf_map_sum_elem_count (before 6.6) from a walk over the
keys. Which one is a fact of the run.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.kernel import bpf
from experiments.loaders.scx import BPFFS
from experiments.model import Job, Loaded, Sampler
from experiments.proc import CommandFailed, run

OBJECT_NAME = "mapcount.bpf.o"
_PIN = BPFFS / "scxlab-mapcount"
_COUNT = struct.Struct("=4Iq")  # struct map_count: id, type, max_entries, pad, entries
_READ_BYTES = 1 << 16


def pin_iterator(bin_dir: Path) -> bool:
    """Load the iterator unless it is there; False when this kernel refuses it."""
    if _PIN.exists():
        return True
    try:
        run(["bpftool", "iter", "pin", bin_dir / OBJECT_NAME, _PIN], timeout_s=30)
    except (CommandFailed, FileNotFoundError):
        return False
    return True


def read_counts() -> dict[int, int]:
    """Live entries by map id, for all maps in the kernel."""
    fd = os.open(_PIN, os.O_RDONLY)
    try:
        chunks = []
        while chunk := os.read(fd, _READ_BYTES):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return {record[0]: record[4] for record in _COUNT.iter_unpack(b"".join(chunks))}


def largest_hash(maps: Mapping[str, int]) -> str:
    """The name of the likeliest per-task map: a hash keyed by a pid or a pointer.

    The largest one of those with keys of 4 or 8 bytes; empty when there is none.
    """
    sizes = {}
    for name, map_id in maps.items():
        fd = bpf.open_map(map_id)
        info = bpf.map_info(fd)
        os.close(fd)
        if info.type in bpf.HASHES and info.key_size in (4, 8):
            sizes[name] = info.max_entries
    return max(sizes, key=lambda name: sizes[name], default="")


class BpfMapSampler(Sampler):
    name = "bpf-map"

    def __init__(self, job: Job, loaded: Loaded) -> None:
        wanted = job.built.tasks_map if job.built else ""
        self._wanted = wanted or largest_hash(loaded.maps)
        self._map_id = loaded.maps.get(self._wanted[:15])
        self._fd = -1
        if self._map_id is not None:
            self._fd = bpf.open_map(self._map_id)
            self._info = bpf.map_info(self._fd)
            self._by_iterator = pin_iterator(job.bin_dir)

    def missing(self) -> Sequence[str]:
        if self._map_id is None:
            named = f"map {self._wanted!r}" if self._wanted else "hash map of tasks"
            return (f"the scheduler's programs use no {named}",)
        if self._info.type == bpf.TASK_STORAGE:
            return ("the kernel does not count the entries of task storage",)
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {
            "map": self._wanted,
            "map_id": self._map_id,
            "map_max_entries": self._info.max_entries,
            "map_entries_by": "iterator" if self._by_iterator else "walk",
        }

    @property
    def map_id(self) -> int:
        assert self._map_id is not None
        return self._map_id

    def entries(self) -> int:
        """Live entries now."""
        if self._by_iterator:
            return read_counts()[self.map_id]
        return sum(1 for _ in bpf.walk_keys(self._fd, self._info.key_size))

    def sample(self) -> Mapping[str, float]:
        return {
            "map_entries": self.entries(),
            "map_memlock_kb": bpf.memlock_bytes(self._fd) / 1024,
        }

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


SAMPLER = BpfMapSampler
