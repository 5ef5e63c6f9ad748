# SPDX-License-Identifier: GPL-2.0-only
"""bpf(2) by ctypes: ids, infos and elements of the BPF objects in the kernel.

Layouts are those of include/uapi/linux/bpf.h; the fields read here are at the same
offsets in every kernel since 5.6. All calls need root and raise OSError as bpf(2) does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_MAP_GET_NEXT_KEY = 4
_OBJ_GET = 7
_PROG_GET_NEXT_ID = 11
_PROG_GET_FD_BY_ID = 13
_MAP_GET_FD_BY_ID = 14
_OBJ_GET_INFO_BY_FD = 15
_MAP_LOOKUP_BATCH = 24

# Of enum bpf_map_type: (HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH), TASK_STORAGE
HASHES = (1, 5, 9, 10)
TASK_STORAGE = 29

_SYSCALL_NUMBER = {"x86_64": 321, "aarch64": 280}
_ATTR_SIZE = 128
_INFO_SIZE = 512

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _bpf(command: int, attr: bytes | ctypes.Array[ctypes.c_char]) -> int:
    if isinstance(attr, bytes):
        attr = ctypes.create_string_buffer(attr, _ATTR_SIZE)
    number = _SYSCALL_NUMBER[platform.machine()]
    result = int(_libc.syscall(number, command, attr, _ATTR_SIZE))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@dataclass(frozen=True)
class MapInfo:
    """The parts of struct bpf_map_info in use here; sizes are in bytes."""

    id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str  # the kernel keeps 15 characters
    btf_id: int


@dataclass(frozen=True)
class ProgInfo:
    """The parts of struct bpf_prog_info in use here."""

    id: int
    type: int
    name: str
    btf_id: int
    map_ids: tuple[int, ...]


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def _info(fd: int, info: ctypes.Array[ctypes.c_char]) -> bytes:
    attr = struct.pack("=IIQ", fd, len(info), ctypes.addressof(info))
    _bpf(_OBJ_GET_INFO_BY_FD, attr)
    return info.raw


def open_pinned(path: Path) -> int:
    """A file descriptor of the object pinned at `path`."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def open_map(map_id: int) -> int:
    """A file descriptor of the map with this id."""
    return _bpf(_MAP_GET_FD_BY_ID, struct.pack("=III", map_id, 0, 0))


@contextlib.contextmanager
def opened_map(map_id: int) -> Iterator[int]:
    """`open_map`, closed again at the end of the block."""
    fd = open_map(map_id)
    try:
        yield fd
    finally:
        os.close(fd)


def map_info(fd: int) -> MapInfo:
    raw = _info(fd, ctypes.create_string_buffer(_INFO_SIZE))
    type_, id_, key, value, entries, flags, name = struct.unpack_from("=6I16s", raw)
    (btf_id,) = struct.unpack_from("=I", raw, 64)
    return MapInfo(id_, type_, key, value, entries, flags, _name(name), btf_id)


def prog_info(prog_id: int) -> ProgInfo:
    fd = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", prog_id, 0, 0))
    try:
        (count,) = struct.unpack_from(
            "=I", _info(fd, ctypes.create_string_buffer(_INFO_SIZE)), 52
        )
        ids = (ctypes.c_uint32 * count)()
        info = ctypes.create_string_buffer(_INFO_SIZE)
        struct.pack_into("=IQ", info, 52, count, ctypes.addressof(ids))
        raw = _info(fd, info)
    finally:
        os.close(fd)
    type_, id_ = struct.unpack_from("=2I", raw)
    (name,) = struct.unpack_from("=16s", raw, 64)
    (btf_id,) = struct.unpack_from("=I", raw, 128)
    return ProgInfo(id_, type_, _name(name), btf_id, tuple(ids))


def prog_ids() -> Iterator[int]:
    """The ids of all programs in the kernel."""
    current = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("=I", current), _ATTR_SIZE)
        try:
            _bpf(_PROG_GET_NEXT_ID, attr)
        except FileNotFoundError:
            return
        current = struct.unpack_from("=I", attr.raw, 4)[0]
        yield current


def link_map_id(fd: int) -> int:
    """The id of the struct_ops map that a struct_ops link attaches."""
    raw = _info(fd, ctypes.create_string_buffer(_INFO_SIZE))
    return int(struct.unpack_from("=I", raw, 16)[0])


def progs_of_object(btf_id: int) -> list[ProgInfo]:
    """The programs that were loaded from the object file whose BTF has this id.

    Programs that vanish while they are asked are left out.
    """
    found = []
    for prog_id in prog_ids():
        try:
            info = prog_info(prog_id)
        except FileNotFoundError:
            continue
        if info.btf_id == btf_id:
            found.append(info)
    return found


def lookup(fd: int, key: bytes, value_size: int) -> bytes:
    """The value of `key`; FileNotFoundError when there is none."""
    value = ctypes.create_string_buffer(value_size)
    key_buffer = ctypes.create_string_buffer(key, len(key))
    attr = struct.pack(
        "=I4xQQQ", fd, ctypes.addressof(key_buffer), ctypes.addressof(value), 0
    )
    _bpf(_MAP_LOOKUP_ELEM, attr)
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set the value of `key`, which is added where the type of map has it."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value_buffer = ctypes.create_string_buffer(value, len(value))
    addresses = map(ctypes.addressof, (key_buffer, value_buffer))
    _bpf(_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", fd, *addresses, 0))


def walk_values(fd: int, info: MapInfo) -> Iterator[bytes]:
    """Every value of a hash map, by LOOKUP_BATCH (Linux 5.6).

    The kernel walks bucket by bucket, so what changes meanwhile is seen once at most.
    """
    count = info.max_entries
    keys = ctypes.create_string_buffer(info.key_size * count)
    values = ctypes.create_string_buffer(info.value_size * count)
    place = ctypes.create_string_buffer(8)
    start = 0
    while True:
        addresses = map(ctypes.addressof, (place, keys, values))
        packed = struct.pack("=4Q2I2Q", start, *addresses, count, fd, 0, 0)
        attr = ctypes.create_string_buffer(packed, _ATTR_SIZE)
        last = False
        try:
            _bpf(_MAP_LOOKUP_BATCH, attr)
        except FileNotFoundError:
            last = True
        (found,) = struct.unpack_from("=I", attr.raw, 32)
        read = ctypes.string_at(values, found * info.value_size)
        for i in range(found):
            yield read[i * info.value_size : (i + 1) * info.value_size]
        if last:
            return
        start = ctypes.addressof(place)


def walk_keys(fd: int, key_size: int) -> Iterator[bytes]:
    """Every key of a map, by GET_NEXT_KEY.

    Exact only while nobody deletes: the walk starts anew when its key has gone.
    """
    buffer = ctypes.create_string_buffer(key_size)
    key = 0
    while True:
        attr = struct.pack("=I4xQQQ", fd, key, ctypes.addressof(buffer), 0)
        try:
            _bpf(_MAP_GET_NEXT_KEY, attr)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield buffer.raw
        key = ctypes.addressof(buffer)


def memlock_bytes(fd: int) -> int:
    """Memory the kernel charges for a map; exact for all hash maps since 6.4."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    raise OSError(errno.ENOENT, "no memlock in fdinfo")
