# SPDX-License-Identifier: GPL-2.0-only
"""Choosing a way to count, and what each way makes of what the kernel says."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.kernel import bpf, map_count, procfs
from experiments.kernel.bpf import MapInfo
from experiments.kernel.map_count import MapState
from experiments.model import Completed, Job, LoadedScheduler
from experiments.samplers import bpf_map
from experiments.samplers.bpf_map import BpfMapSampler, largest_hash
from experiments.support.proc import CommandFailed

NOWHERE = Path("/nowhere")


def info(
    type_: int = 1, map_id: int = 7, value_size: int = 24, entries: int = 8
) -> MapInfo:
    return MapInfo(map_id, type_, 4, value_size, entries, 0, "tasks", 0)


# --- windows --------------------------------------------------------------------------


def test_lists_of_cpus() -> None:
    assert [bpf.parse_cpus(t) for t in ("0\n", "0-3\n", "0,2-3,8")] == [1, 4, 4]


def test_values_of_all_cpus_are_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "possible_cpus", lambda: 3)
    assert info(1, value_size=20).value_stride == 20
    assert info(5, value_size=20).value_stride == 72
    assert info(10, value_size=8).value_stride == 24


def test_names_of_types() -> None:
    named = {n: info(n).type_name for n in (1, 2, 5, 9, 10, 26, 29, 33, 99)}
    assert named == {
        **{1: "hash", 2: "array", 5: "percpu_hash", 9: "lru_hash"},
        **{10: "lru_percpu_hash", 26: "struct_ops", 29: "task_storage", 33: "arena"},
        99: "type 99",
    }


class FakeMap:
    """LOOKUP_BATCH of a hash map: whole buckets, or ENOSPC if the first has no room."""

    def __init__(self, buckets: Sequence[int], busy_at: int = -1) -> None:
        self.buckets = buckets
        self.busy_at = busy_at
        self.rooms: list[int] = []

    def __call__(self, command: int, attr: Any) -> int:
        start, out, _, _, room, *_ = struct.unpack_from("=4Q2I", attr.raw)
        at = ctypes.c_uint64.from_address(start).value if start else 0
        self.rooms.append(room)
        total = code = 0
        while at < len(self.buckets) and not code:
            if at == self.busy_at:
                code, self.busy_at = errno.EBUSY, -1
            elif self.buckets[at] > room - total:
                code = 0 if total else errno.ENOSPC
                break
            else:
                total += self.buckets[at]
                at += 1
        struct.pack_into("=I", attr, 32, total)
        ctypes.c_uint64.from_address(out).value = at
        if at == len(self.buckets):
            code = errno.ENOENT
        if code:
            raise OSError(code, os.strerror(code))
        return 0


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(-1, 30),
)
def test_batches_find_every_entry_once(
    buckets: list[int], room: int, busy_at: int
) -> None:
    fake = FakeMap(buckets, busy_at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpf, "call", fake)
        patch.setattr(bpf, "BATCH_ENTRIES", room)
        counter = map_count.LookupBatch(3, info(entries=sum(buckets) or 1), NOWHERE)
        assert counter.count() == sum(buckets)
    assert fake.rooms == sorted(fake.rooms)


def test_a_batch_is_no_larger_than_the_map_nor_32_mb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rooms = []
    for subject in (info(entries=10), info(entries=10**6), info(1, 7, 1 << 20, 10**6)):
        fake = FakeMap([0])
        monkeypatch.setattr(bpf, "call", fake)
        map_count.LookupBatch(3, subject, NOWHERE).count()
        rooms += fake.rooms
    assert rooms == [10, 1 << 16, 32]


def test_other_errors_of_a_batch_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "call", refuse(OSError(errno.EINVAL, "no such command")))
    with pytest.raises(OSError, match="no such command"):
        map_count.LookupBatch(3, info(), NOWHERE).count()


def refuse(error: Exception) -> Callable[..., Any]:
    def raising(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raising


def test_a_walk_that_is_thrown_back_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def walk(keys: Sequence[bytes]) -> int | None:
        monkeypatch.setattr(bpf, "walk_keys", lambda fd, size: iter(keys))
        return map_count.NextKey(3, info(entries=8), NOWHERE).count()

    assert walk([b"a", b"b", b"a", b"b", b"c"]) == 3
    assert walk([b"a", b"b"] * 8) == 2
    assert walk([b"a", b"b"] * 9) is None, "it may never end"


# --- iterators ------------------------------------------------------------------------


class FakeIterator:
    """What is read of an iterator; None stands for EAGAIN."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chunks: list[bytes | None]):
        self.chunks = [*chunks, b""]
        self.closed: list[int] = []
        monkeypatch.setattr(bpf, "open_iterator", lambda link: 30)
        monkeypatch.setattr(os, "read", self.read)
        monkeypatch.setattr(os, "close", self.closed.append)

    def read(self, fd: int, size: int) -> bytes:
        chunk = self.chunks.pop(0)
        if chunk is None:
            raise BlockingIOError
        return chunk


def linked(method: Any, **fields: Any) -> Any:
    counter = method.__new__(method)
    counter._link = 20
    for name, value in fields.items():
        setattr(counter, name, value)
    return counter


def test_counts_of_all_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    records = b"".join(
        struct.pack("=4Iq", map_id, 1, 100, 0, entries)
        for map_id, entries in ((7, 70), (9, 0))
    )
    with monkeypatch.context() as patch:
        fake = FakeIterator(patch, [records[:24], records[24:]])
        counter = linked(map_count.MapIterator, _id=7)
        assert counter.counts() == {7: 70, 9: 0}
        fake.chunks = [records, b""]
        assert counter.count() == 70
        fake.chunks = [records[24:], b""]
        assert counter.count() is None, "not listed: unknown, not 0"
        assert fake.closed == [30] * 3


@pytest.mark.parametrize(
    ("chunks", "count"),
    [
        ([struct.pack("=Q", 0)], 0),
        ([struct.pack("=2Q", 1, 0)], 1),
        ([struct.pack("=2Q", 1, 41)], 42),
        # 1,000,000 elements at a time; a million without a record is EAGAIN
        ([struct.pack("=Q", 1), None, struct.pack("=Q", 2_499_999)], 2_500_000),
    ],
)
def test_the_parts_of_an_element_iterator(
    monkeypatch: pytest.MonkeyPatch, chunks: list[bytes | None], count: int
) -> None:
    with monkeypatch.context() as patch:
        FakeIterator(patch, chunks)
        assert linked(map_count.ElementIterator).count() == count


def test_nothing_is_pinned_where_there_is_no_bpffs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bpftool would mount one over the directory. A process would fail the test."""
    monkeypatch.setattr(bpf, "BPFFS", tmp_path)
    for method in (map_count.MapIterator, map_count.ElementIterator):
        with pytest.raises(OSError, match="no bpffs"):
            method(3, info(), NOWHERE)


# --- choosing -------------------------------------------------------------------------


def way(called: str, making: Exception | None, counting: Exception | None) -> Any:
    class Way:
        name = called
        closed = 0

        def __init__(self, fd: int, info: MapInfo, bin_dir: Path) -> None:
            if making:
                raise making

        def count(self) -> int:
            if counting:
                raise counting
            return 5

        def close(self) -> None:
            Way.closed += 1

    return Way


REFUSED = CommandFailed(Completed(("bpftool",), 255, "", "", 0.1), "ended")


@pytest.mark.parametrize(
    "lacking",
    [
        (REFUSED, None),  # the kernel refuses the program, or it did not end in time
        (FileNotFoundError("no program bpftool"), None),
        (OSError(errno.ENODEV, "no bpffs"), None),
        (None, OSError(errno.EINVAL, "no such command")),
    ],
)
def test_what_is_refused_gives_way(
    lacking: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpf, "map_info", lambda fd: info())
    bad, good = way("bad", *lacking), way("good", None, None)
    chosen = map_count.choose(3, NOWHERE, [bad, good, bad])
    assert chosen is not None
    assert chosen.name == "good"
    assert bad.closed == (lacking[1] is not None)
    assert map_count.choose(3, NOWHERE, [bad]) is None


@pytest.mark.parametrize("type_", [2, 13, 29])
def test_only_hash_maps_are_counted(
    type_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpf, "map_info", lambda fd: info(type_))
    assert map_count.choose(3, NOWHERE, [way("any", None, None)]) is None


def test_the_cheapest_way_comes_first() -> None:
    names = [method.name for method in map_count.METHODS]
    assert names == ["iterator", "element-iterator", "lookup-batch", "next-key"]


def test_looking_at_a_map_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "open_map", refuse(FileNotFoundError()))
    assert map_count.look(7, NOWHERE) is None


# --- the sampler ----------------------------------------------------------------------


class FakeFdinfo:
    def __init__(self, path: Path) -> None:
        assert path == Path("/proc/self/fdinfo/1001")

    def text(self) -> str:
        return "flags:\t02\nmemlock:\t4096\n"

    def close(self) -> None:
        pass


class FakeWay:
    name = "fake"

    def __init__(self, entries: int) -> None:
        self.count = lambda: entries

    def close(self) -> None:
        pass


class FakeKernel:
    """Maps by id: their info and how many entries they have."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, maps: dict[int, tuple[MapInfo, int]]
    ) -> None:
        self.maps = maps
        monkeypatch.setattr(bpf, "open_map", self.open_map)
        monkeypatch.setattr(bpf, "map_info", lambda fd: self.maps[fd - 1000][0])
        monkeypatch.setattr(procfs, "read", lambda path: "memlock:\t4096\n")
        monkeypatch.setattr(bpf_map, "KeptFile", FakeFdinfo)
        monkeypatch.setattr(os, "close", lambda fd: None)
        monkeypatch.setattr(map_count, "choose", self.choose)
        monkeypatch.setattr(map_count, "METHODS", (object, FakeWay))

    def open_map(self, map_id: int) -> int:
        if map_id not in self.maps:
            raise FileNotFoundError
        return 1000 + map_id

    def choose(
        self, fd: int, bin_dir: Path, methods: Any = None
    ) -> map_count.EntryCounter | None:
        found, entries = self.maps[fd - 1000]
        assert methods in (None, map_count.METHODS, (FakeWay,))
        return FakeWay(entries) if found.type in bpf.HASHES else None


def sampler(maps: dict[str, int]) -> BpfMapSampler:
    job = Job(None, None, NOWHERE, NOWHERE)  # type: ignore[arg-type]
    return BpfMapSampler(job, LoadedScheduler("x", maps, None))


def test_first_and_last_of_all_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        tasks, counters = (info(map_id=1), 3), (info(2, map_id=2), 0)
        kernel = FakeKernel(patch, {1: tasks, 2: counters})
        made = sampler({"tasks": 1, ".bss": 2})
        assert made.missing() == ()
        assert made.facts()["map_entries_by"] == "fake"
        assert made.sample() == {"map_entries": 3, "map_memlock_kb": 4}
        kernel.maps = {1: (info(map_id=1), 6)}  # .bss has gone
        hash_ = {"type": "hash", "max_entries": 8, "memlock_kb_last": 4}
        array = {"type": "array", "max_entries": 8, "memlock_kb_last": None}
        assert made.finish() == {
            "maps": {
                "tasks": {**hash_, "entries_first": 3, "entries_last": 6},
                ".bss": {**array, "entries_first": None, "entries_last": None},
            }
        }
        made.close()


def test_finish_without_a_map_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        FakeKernel(patch, {4: (info(29, map_id=4), 0)})
        made = sampler({"tasks": 4})
        assert made.missing() == ("the scheduler's programs use no hash map of tasks",)
        assert made.finish()["maps"]["tasks"]["entries_first"] is None
        gone = sampler({"tasks": 5})
        assert gone.missing() and gone.finish() == {"maps": {}}


def test_history_of_a_map() -> None:
    state = MapState("hash", 8, 3, 1.5)
    assert bpf_map._history(state, None)["entries_first"] == 3
    assert bpf_map._history(state, state)["memlock_kb_last"] == 1.5


def test_the_likeliest_map() -> None:
    infos = {
        "small": info(entries=8),
        "large": info(entries=9),
        "array": info(2, entries=99),
        "strings": MapInfo(1, 1, 16, 8, 99, 0, "strings", 0),
    }
    assert largest_hash(infos) == "large"
    assert largest_hash({}) == ""
