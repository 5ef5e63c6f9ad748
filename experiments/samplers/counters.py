# SPDX-License-Identifier: GPL-2.0-only
"""What the scheduler itself counts of its clean-up, read from its .bss."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.kernel import bpf
from experiments.model import CSV_COLUMNS, Job, Loaded

_FIRST_KEY = bytes(4)
#: Where the name of a column, given by its readers, is not that of the counter.
_COLUMN = {"evicted": "evictions"}


class CountersSampler:
    name = "counters"

    def __init__(self, job: Job, loaded: Loaded) -> None:
        self._offsets = job.built.counters if job.built else {}
        self._map = job.built.counters_map if job.built else ""
        self._fd = -1
        if self._offsets and self._map[:15] in loaded.maps:
            self._fd = bpf.open_map(loaded.maps[self._map[:15]])
            self._size = bpf.map_info(self._fd).value_size

    def missing(self) -> Sequence[str]:
        return () if self._fd >= 0 else ("the scheduler has no counters of its own",)

    def facts(self) -> Mapping[str, Any]:
        return {}

    def read(self) -> dict[str, int]:
        """All counters by their names in struct cleanup_counters."""
        raw = bpf.lookup(self._fd, _FIRST_KEY, self._size)
        return {
            name: struct.unpack_from("=Q", raw, offset)[0]
            for name, offset in self._offsets.items()
        }

    def sample(self) -> Mapping[str, float]:
        named = {_COLUMN.get(k, k): v for k, v in self.read().items()}
        return {k: v for k, v in named.items() if k in CSV_COLUMNS}

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


SAMPLER = CountersSampler
