# SPDX-License-Identifier: GPL-2.0-only
"""What a scheduler counts, against what the kernel says: runs that differ are flagged.

Evictions are counted three ways: by the scheduler's own counter, by the difference of
what was inserted and what is still there, and, where the strategy writes to the kernel
log, by the entries its records name. Asked after the scheduler was unloaded, while its
maps are still held, so that all three are of the same moment and have to be equal.

Exits are counted by the scheduler, and by the kernel since it was loaded, which is a
little later: a scheduler that has seen many more than there were is not to be believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.kernel.kmsg import KmsgRecord
from experiments.plugins import Sampler
from experiments.samplers.bpf_map import BpfMapSampler
from experiments.samplers.counters import CountersSampler
from experiments.samplers.forks import ForksSampler

#: Tasks that may have exited before the kernel's were counted, and while they were.
_EXITS_BEYOND, _SHARE_BEYOND = 200, 0.1
_RECORD = re.compile(
    r"scx_map_scan: map \S+ \(id (\d+)\): evicted (\d+) of \d+ scanned"
)


def evicted_by_log(records: Iterable[KmsgRecord], map_id: int) -> int | None:
    """Return entries that the records of the kernel log name.

    None without such a record.
    """
    found = [m for r in records if (m := _RECORD.search(r.text))]
    named = [int(m[2]) for m in found if int(m[1]) == map_id]
    return sum(named) if named else None


def check(
    samplers: Sequence[Sampler], records: Iterable[KmsgRecord]
) -> Mapping[str, Any]:
    """Return `evictions_three_ways` and, if they disagree, `flags`.

    Nothing without counters.

    A way that this strategy does not have is None.
    """
    counters = next((s for s in samplers if isinstance(s, CountersSampler)), None)
    entries = next((s for s in samplers if isinstance(s, BpfMapSampler)), None)
    if counters is None:
        return {}
    read = counters.read()
    ways: dict[str, int | None] = {
        "counter": read["evicted"] if counters.counts_evictions else None,
        "inserted_minus_present": None,
        "kernel_log": None,
    }
    if entries is not None:
        if (present := entries.entries()) is not None:
            ways["inserted_minus_present"] = (
                read["inserted"] - read["dropped"] - present
            )
        ways["kernel_log"] = evicted_by_log(records, entries.map_id)
    facts: dict[str, Any] = {"evictions_three_ways": ways, "counters": read}
    flags = []
    if len({w for w in ways.values() if w is not None}) > 1:
        flags.append(f"evictions disagree: {ways}")
    forks = next((s for s in samplers if isinstance(s, ForksSampler)), None)
    if forks is not None:
        facts["exits_two_ways"] = exits = {
            "counter": read["left_behind"],
            "kernel": forks.exits(),
        }
        flags += _too_many_exits(exits)
    return {**facts, **({"flags": flags} if flags else {})}


def _too_many_exits(exits: Mapping[str, int]) -> list[str]:
    """Return that the scheduler saw more tasks exit than there were, if it says so."""
    most = _EXITS_BEYOND + (1 + _SHARE_BEYOND) * exits["kernel"]
    return [f"exits disagree: {dict(exits)}"] if exits["counter"] > most else []
