# SPDX-License-Identifier: GPL-2.0-only
"""Counting the entries of maps on a real kernel: all ways, all kinds of hash maps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.guest.count_methods import ENTRIES, INSERTED, MAPS

if TYPE_CHECKING:
    from tests.integration.conftest import Lab

#: Entries that an LRU map takes out at once, for a CPU that has no free one (there are
#: two): LOCAL_FREE_TARGET in kernel/bpf/bpf_lru_list.c of Linux 7.2.
LRU_BATCH = 128
WAYS = {"iterator", "element-iterator", "lookup-batch", "next-key"}


def said(lab: Lab, what: str) -> dict[str, Any]:
    """It takes as long as it takes; a busy machine gets a minute."""
    for duration_s in (3, 60):
        result, out_dir = lab.run("count-methods", None, duration_s, 1.0, what=what)
        if result["outcome"] != "TIMEOUT":
            break
    assert result["outcome"] == "OK", result["reason"]
    found: dict[str, Any] = json.loads((out_dir / "workload.log").read_text())
    return found


@pytest.mark.parametrize("what", MAPS)
def test_all_ways_count_the_same(lab: Lab, what: str) -> None:
    found = said(lab, what)
    moments = [moment for moment, *_ in found["at_rest"]]
    assert moments == ["empty", "one", "half", "full", "after deletes", "emptied"]
    for moment, put, walked, counts in found["at_rest"]:
        assert set(counts.values()) == {walked}, (moment, counts)
        assert set(counts) == {*WAYS, "batches that grow"}
        if moment == "full" and what == "lru":  # evicts before it is quite full
            assert ENTRIES - 2 * LRU_BATCH <= walked <= ENTRIES
        else:
            assert walked == put, moment
    assert {way for way, *_ in found["at_work"]} == WAYS
    for way, before, counts, after in found["at_work"]:
        assert after >= before + INSERTED, "nothing was inserted meanwhile"
        # The sums of a map are changed just before the entry can be seen
        assert before <= counts[0] and counts[-1] <= after + 1, way
        assert counts == sorted(counts), way


@pytest.fixture(scope="module")
def fallbacks(lab: Lab) -> dict[str, Any]:
    return said(lab, "fallbacks")


def test_what_is_missing_gives_way_to_the_next(fallbacks: dict[str, Any]) -> None:
    assert fallbacks["without"] == {
        "nothing": ["iterator", 100],
        "bpffs": ["lookup-batch", 100],
        "bpftool": ["lookup-batch", 100],
        "writable_bpffs": ["lookup-batch", 100],
        "kfunc": ["element-iterator", 100],
        "objects": ["lookup-batch", 100],
        "nothing again": ["iterator", 100],
    }
    assert fallbacks["left"] == []


def test_the_sampler_outlives_the_maps(fallbacks: dict[str, Any]) -> None:
    sampler = fallbacks["sampler"]
    assert sampler["missing"] == []
    assert sampler["facts"]["map"] == "watched"
    assert sampler["facts"]["map_entries_by"] == "iterator"
    assert sampler["sample"]["map_entries"] == 20
    assert sampler["sample"]["map_memlock_kb"] > 0
    maps = sampler["maps"]
    assert set(maps) == {"watched", "other", "plain"}
    watched = maps["watched"]
    assert (watched["entries_first"], watched["entries_last"]) == (10, 20)
    assert watched["memlock_kb_last"] == sampler["sample"]["map_memlock_kb"]
    gone = {"entries_first": 0, "entries_last": None, "memlock_kb_last": None}
    assert maps["other"] == {"type": "hash", "max_entries": 50, **gone}
    assert maps["plain"]["type"] == "array"
    assert maps["plain"]["entries_last"] is None
    assert maps["plain"]["memlock_kb_last"] > 0
