# SPDX-License-Identifier: GPL-2.0-only
"""BTF, the types of an object or of the kernel, read through libbpf.

Layouts are those of include/uapi/linux/btf.h. libbpf has checked the ids and names in
it by the time it is read here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import c_uint32
from dataclasses import dataclass
from typing import Any

from experiments.kernel.integers import Integer

_INT, _STRUCT, _ENUM, _DATASEC, _ENUM64 = 1, 4, 6, 15, 19
_WRAPPERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type_tag
_MOST_WRAPPERS = 32  # as libbpf has it: a damaged file may go round in circles
_INT_SIGNED, _INT_BOOL = 1, 4
_WORD = 2**32


class _Type(ctypes.Structure):
    """struct btf_type; `size` is the id of another type for some kinds."""

    _fields_ = (("name_off", c_uint32), ("info", c_uint32), ("size", c_uint32))

    @property
    def kind(self) -> int:
        return int(self.info) >> 24 & 0x1F

    @property
    def flag(self) -> bool:
        return bool(self.info >> 31)


@dataclass(frozen=True)
class Place:
    """Where in its section or struct a variable or member lies, in bytes.

    ``type_id`` is without typedefs and qualifiers; ``integer`` None of what is none.
    """

    offset: int
    size: int
    type_id: int
    integer: Integer | None


class Btf:
    """Types of an object or of the kernel. The handle stays that of its owner."""

    def __init__(self, library: Any, handle: int) -> None:
        self._lib, self._handle = library, handle

    def _type(self, type_id: int) -> tuple[_Type, int]:
        """Return a type, and where in memory the records that follow it begin."""
        address = self._lib.btf__type_by_id(self._handle, type_id)
        return _Type.from_address(address), address + ctypes.sizeof(_Type)

    def _records(self, type_id: int, words: int) -> Iterator[tuple[int, ...]]:
        found, address = self._type(type_id)
        count = found.info & 0xFFFF
        flat = (c_uint32 * (words * count)).from_address(address)
        for at in range(0, words * count, words):
            yield tuple(flat[at : at + words])

    def _name(self, offset: int) -> str:
        name: bytes = self._lib.btf__name_by_offset(self._handle, offset)
        return name.decode(errors="replace")

    def _find(self, name: str, kind: int) -> int | None:
        try:
            found = self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
        except FileNotFoundError:
            return None
        return int(found)

    def _bare(self, type_id: int) -> int:
        """Return a type without its typedefs and qualifiers."""
        for _ in range(_MOST_WRAPPERS):
            found, _ = self._type(type_id)
            if found.kind not in _WRAPPERS:
                break
            type_id = int(found.size)
        return type_id

    def _integer(self, type_id: int) -> Integer | None:
        found, address = self._type(type_id)
        if found.kind in (_ENUM, _ENUM64):
            return Integer(int(found.size), found.flag)
        if found.kind != _INT:
            return None
        encoding = c_uint32.from_address(address).value >> 24
        return Integer(
            int(found.size), bool(encoding & _INT_SIGNED), bool(encoding & _INT_BOOL)
        )

    def _place(self, offset: int, type_id: int) -> Place:
        bare = self._bare(type_id)
        size = int(self._lib.btf__resolve_size(self._handle, bare))
        return Place(offset, size, bare, self._integer(bare))

    def variables(self, section: str) -> dict[str, Place]:
        """Return the variables of a section of the object, with their offsets there."""
        if (type_id := self._find(section, _DATASEC)) is None:
            return {}
        found = {}
        for variable, offset, _ in self._records(type_id, 3):
            said, _ = self._type(variable)
            found[self._name(said.name_off)] = self._place(offset, said.size)
        return found

    def members(self, type_id: int) -> dict[str, Place]:
        """Return the members of a struct; those of other types have none."""
        found, _ = self._type(type_id)
        if found.kind != _STRUCT:
            return {}
        # Where the struct has bit fields, the upper byte is the width of each
        return {
            self._name(name): self._place(
                (bits & 0xFFFFFF if found.flag else bits) // 8, member
            )
            for name, member, bits in self._records(type_id, 3)
        }

    def enumerators(self, enum: str) -> dict[str, int]:
        """Return the values of an enum as unsigned 64-bit numbers, as BPF sees them."""
        if (type_id := self._find(enum, _ENUM)) is not None:
            is_signed = self._type(type_id)[0].flag
            return {
                self._name(name): (value - (value >> 31) * is_signed * _WORD) % _WORD**2
                for name, value in self._records(type_id, 2)
            }
        if (type_id := self._find(enum, _ENUM64)) is not None:
            return {
                self._name(name): low + high * _WORD
                for name, low, high in self._records(type_id, 3)
            }
        return {}
