# SPDX-License-Identifier: GPL-2.0-only
"""What follows from the counters, against a simulation that knows who was alive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experiments.agent import eviction_check
from experiments.kernel.kmsg import KmsgRecord
from experiments.samplers import counters

NAMES = (
    *("inserted", "insert_failures", "dropped", "left_behind", "reused"),
    *("evicted", "evicted_alive"),
)

#: (what happens, to which pid): the task of a pid is seen, exits, or is evicted.
EVENTS = st.lists(
    st.tuples(st.sampled_from(["seen", "exit", "evict"]), st.integers(0, 5)),
    max_size=60,
)


def simulate(
    events: list[tuple[str, int]],
) -> tuple[dict[str, int], dict[int, bool]]:
    """Counters as task_state.bpf.h keeps them; pid -> marked of entries left."""
    count = dict.fromkeys(NAMES, 0)
    entries: dict[int, bool] = {}
    alive: set[int] = set()
    for what, pid in events:
        if what == "seen":
            alive.add(pid)
            if pid not in entries:
                count["inserted"] += 1
            elif entries[pid]:
                count["reused"] += 1
            entries[pid] = False
        elif what == "exit" and pid in alive:
            alive.discard(pid)
            if pid in entries:
                count["left_behind"] += 1
                entries[pid] = True
        elif what == "evict" and pid in entries:
            count["evicted"] += 1
            count["evicted_alive"] += not entries.pop(pid)
    return count, entries


@given(EVENTS)
def test_leaked_is_exact(events: list[tuple[str, int]]) -> None:
    count, entries = simulate(events)
    derived = counters.derive(count, "hash", None)
    assert derived["leaked"] == sum(entries.values())
    assert counters.balance(count) == len(entries)


@given(EVENTS)
def test_a_census_gives_who_was_evicted_alive(events: list[tuple[str, int]]) -> None:
    count, entries = simulate(events)
    census = len(entries), sum(entries.values())
    silent = {**count, "evicted_alive": 0}
    assert counters.derive(silent, "hash", census) == {
        **count,
        "leaked": census[1],
    }
    unknown = {**silent, "evicted": 0}
    derived = counters.derive(unknown, "lru_hash", census)
    assert derived["evicted"] == count["evicted"]
    assert derived["evicted_alive"] == count["evicted_alive"]


def test_entries_of_task_storage_follow_from_the_counters() -> None:
    count = {**dict.fromkeys(NAMES, 0), "inserted": 9, "left_behind": 4, "evicted": 4}
    derived = counters.derive(count, "task_storage", None)
    assert (derived["entries"], derived["leaked"]) == (5, 0)


def test_evictions_of_the_log_are_entries_of_this_map() -> None:
    texts = [
        "scx_map_scan: map tasks (id 9): evicted 3 of 33 scanned",
        "scx_map_scan: map tasks (id 9): evicted 29 of 400 scanned",
        "scx_map_scan: map tasks (id 10): evicted 5 of 400 scanned",
        "scx_map_scan: loading out-of-tree module taints kernel.",
    ]
    records = [KmsgRecord(i, i, text) for i, text in enumerate(texts)]
    assert eviction_check.evicted_by_log(records, 9) == 32
    assert eviction_check.evicted_by_log(records, 11) is None
