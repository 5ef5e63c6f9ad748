# SPDX-License-Identifier: GPL-2.0-only
"""What is read of an object before it is loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from experiments.build.object_types import ObjectTypes
from experiments.errors import BuildError
from experiments.kernel.integers import Integer


def integer(number: int, name: str, size: int, encoding: str) -> dict[str, Any]:
    said = {"id": number, "kind": "INT", "name": name}
    return {**said, "size": size, "bits_offset": 0, "encoding": encoding}


def wrapped(number: int, kind: str, inner: int, name: str = "(anon)") -> dict[str, Any]:
    return {"id": number, "kind": kind, "name": name, "type_id": inner}


def section(name: str, *variables: int) -> dict[str, Any]:
    said = [{"type_id": v, "offset": 0, "size": 8} for v in variables]
    return {"id": 99, "kind": "DATASEC", "name": name, "vars": said}


TYPES = [
    integer(1, "unsigned long long", 8, "(none)"),
    integer(2, "int", 4, "SIGNED"),
    integer(3, "_Bool", 1, "BOOL"),
    wrapped(4, "TYPEDEF", 1, "u64"),
    wrapped(5, "VOLATILE", 4),
    wrapped(6, "CONST", 5),
    wrapped(7, "VAR", 6, "slice_ns"),
    wrapped(8, "VAR", 2, "nice"),
    wrapped(9, "VAR", 3, "fifo"),
    {"id": 10, "kind": "ENUM", "name": "mode", "size": 4, "encoding": "UNSIGNED"},
    wrapped(11, "VAR", 10, "mode"),
    {"id": 12, "kind": "ARRAY", "name": "(anon)", "type_id": 2, "nr_elems": 3},
    wrapped(13, "VAR", 12, "table"),
    wrapped(14, "VAR", 1, "counter"),
    wrapped(15, "TYPEDEF", 16, "round"),
    wrapped(16, "TYPEDEF", 15, "and_round"),
    wrapped(17, "VAR", 15, "circle"),
    section(".rodata", 7, 8, 9, 11, 13, 17, 1000),
    section(".rodata.more", 8),
    section(".bss", 14),
    section(".struct_ops.link"),
]


def test_numbers_in_read_only_data_can_be_set_and_nothing_else() -> None:
    assert ObjectTypes(TYPES).settings() == {
        "slice_ns": Integer(8),
        "nice": Integer(4, is_signed=True),
        "fifo": Integer(1, is_bool=True),
        "mode": Integer(4),
    }


def test_a_scheduler_is_what_has_struct_ops() -> None:
    assert ObjectTypes(TYPES).has_scheduler
    assert not ObjectTypes(TYPES[:-1]).has_scheduler


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"types": 7}', "[" * 100_000])
def test_what_is_no_list_of_types_is_told(text: str) -> None:
    with pytest.raises(BuildError, match="BTF cannot be read"):
        ObjectTypes.parse(text)


def test_what_is_one_is_read() -> None:
    assert ObjectTypes.parse(json.dumps({"types": TYPES})) == ObjectTypes(TYPES)
