# SPDX-License-Identifier: GPL-2.0-only
"""Pins that a load has left go, and nobody else's. bpffs is a directory here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from experiments.kernel import bpf
from experiments.kernel.bpf import MapInfo, ProgInfo
from experiments.loaders._pins import Pins

T = TypeVar("T")
#: The BTF of an object of ours, and of one of somebody else.
OURS, THEIRS = 70, 80
STRUCT_OPS = 26


class Kernel:
    """Programs and maps by id; a pin is a file that says what it pins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.bpffs = path / "bpf"
        self.bpffs.mkdir()
        self.progs: dict[int, ProgInfo] = {}
        self.maps: dict[int, MapInfo] = {}
        self._values: dict[int, bytes] = {}
        self._asked = 0
        for name, value in {
            "BPFFS": self.bpffs,
            "map_ids": lambda: iter([*self.maps]),
            "prog_ids": lambda: iter([*self.progs]),
            "prog_info": lambda number: _found(self.progs, number),
            "opened": self.opened,
            "map_info": lambda fd: self.maps[self._asked],
            "lookup": lambda fd, key, size: self._values[self._asked],
            "open_pinned": lambda p: os.open(p, os.O_RDONLY),
            "fdinfo": lambda fd: Path(f"/proc/self/fd/{fd}"),
        }.items():
            monkeypatch.setattr(bpf, name, value)

    @contextlib.contextmanager
    def opened(self, map_id: int) -> Iterator[int]:
        self._asked = _found(self.maps, map_id).id
        yield -1

    def prog(self, prog_id: int, btf_id: int, *maps: int) -> None:
        self.progs[prog_id] = ProgInfo(prog_id, 27, "p", btf_id, maps)

    def map(self, map_id: int, btf_id: int, ops: str = "") -> None:
        """With `ops` it is a struct_ops of this name."""
        kind = STRUCT_OPS if ops else 1
        self.maps[map_id] = MapInfo(map_id, kind, 4, 64, 1, 0, "m", btf_id)
        self._values[map_id] = b"\x01" * 9 + ops.encode().ljust(55, b"\0")

    def pin(self, path: str, says: str) -> None:
        target = self.bpffs / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"pos:\t0\n{says}\n")

    def pinned(self) -> list[str]:
        return sorted(
            str(p.relative_to(self.bpffs)) for p in self.bpffs.rglob("*") if p.is_file()
        )


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    return Kernel(monkeypatch, tmp_path)


def test_what_the_load_has_pinned_goes(kernel: Kernel) -> None:
    pins = Pins()
    kernel.prog(5, OURS, 11)
    kernel.map(11, 0)
    kernel.map(12, OURS)
    kernel.map(13, OURS, ops="mine")
    kernel.pin("own/deep/prog", "prog_id:\t5")
    kernel.pin("own/map-of-prog", "map_id:\t11")
    kernel.pin("map-of-object", "map_id:\t12")
    kernel.pin("link", "link_type:\tstruct_ops\nlink_id:\t3\nmap_id:\t13")
    pins.note("mine")
    removed = pins.remove()
    assert kernel.pinned() == []
    assert [*kernel.bpffs.iterdir()] == [], "nor a directory"
    assert [Path(path).name for path in removed] == [
        *("link", "map-of-object", "prog", "map-of-prog"),
    ]


def test_what_others_have_pinned_stays(kernel: Kernel) -> None:
    """Another struct_ops, as one of TCP, may be loaded at the same moment."""
    kernel.prog(1, OURS)
    kernel.pin("before", "prog_id:\t1")
    pins = Pins()
    kernel.prog(5, OURS, 11)
    kernel.prog(6, THEIRS, 9)
    kernel.map(8, THEIRS, ops="mine_too")
    kernel.map(9, THEIRS)
    kernel.map(11, OURS, ops="mine")
    kernel.map(13, 0)
    for name, says in {
        "their-prog": "prog_id:\t6",
        "their/map": "map_id:\t9",
        "their-ops": "map_id:\t8",
        "map-without-btf": "map_id:\t13",
        "gone": "prog_id:\t77",
        "gone-map": "map_id:\t77",
        "other-kind": "link_id:\t5",
    }.items():
        kernel.pin(name, says)
    kernel.pin("their/ours", "map_id:\t11")
    there = kernel.pinned()
    pins.note("mine")
    assert [Path(p).name for p in pins.remove()] == ["ours"]
    assert kernel.pinned() == [name for name in there if name != "their/ours"]


def test_a_link_in_bpffs_is_not_followed(kernel: Kernel, tmp_path: Path) -> None:
    pins = Pins()
    kernel.prog(5, OURS)
    kernel.map(11, OURS, ops="mine")
    (tmp_path / "elsewhere").write_text("prog_id:\t5\n")
    (kernel.bpffs / "link").symlink_to(tmp_path / "elsewhere")
    pins.note("mine")
    assert pins.remove() == []
    assert (kernel.bpffs / "link").is_symlink()


def test_without_a_scheduler_in_charge_nothing_is_ours(kernel: Kernel) -> None:
    pins = Pins()
    kernel.prog(7, 0)
    kernel.map(3, 0, ops="mine")
    kernel.pin("prog", "prog_id:\t7")
    kernel.pin("map", "map_id:\t3")
    pins.note("mine")
    assert pins.remove() == []


def _found(table: dict[int, T], number: int) -> T:
    if number not in table:
        raise FileNotFoundError(number)
    return table[number]
