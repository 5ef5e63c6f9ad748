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

from experiments.kernel import procfs

_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_MAP_GET_NEXT_KEY = 4
_OBJ_GET = 7
_PROG_GET_NEXT_ID = 11
_MAP_GET_NEXT_ID = 12
_PROG_GET_FD_BY_ID = 13
_MAP_GET_FD_BY_ID = 14
_OBJ_GET_INFO_BY_FD = 15
_MAP_LOOKUP_BATCH = 24
_ITER_CREATE = 33

#: Where objects are pinned.
BPFFS = Path("/sys/fs/bpf")

# Of enum bpf_map_type: HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH
HASHES = (1, 5, 9, 10)
PERCPU_HASHES = (5, 10)
_PERCPU_ARRAY = 6
STRUCT_OPS = 26
_TYPES = (
    *("unspec", "hash", "array", "prog_array", "perf_event_array", "percpu_hash"),
    *("percpu_array", "stack_trace", "cgroup_array", "lru_hash", "lru_percpu_hash"),
    *("lpm_trie", "array_of_maps", "hash_of_maps", "devmap", "sockmap", "cpumap"),
    *("xskmap", "sockhash", "cgroup_storage", "reuseport_sockarray"),
    *("percpu_cgroup_storage", "queue", "stack", "sk_storage", "devmap_hash"),
    *("struct_ops", "ringbuf", "inode_storage", "task_storage", "bloom_filter"),
    *("user_ringbuf", "cgrp_storage", "arena", "insn_array"),
)

#: Elements, and bytes of values, that are asked for at once.
BATCH_ENTRIES = 1 << 16
_BATCH_BYTES = 32 << 20

_SYSCALL_NUMBER = {"x86_64": 321, "aarch64": 280}
_ATTR_SIZE = 128
_INFO_SIZE = 512

Buffer = ctypes.Array[ctypes.c_char]
_buffer = ctypes.create_string_buffer

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(command: int, attr: bytes | Buffer) -> int:
    """Return bpf(2) with this union bpf_attr.

    A buffer is left as the kernel leaves it.
    """
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

    @property
    def type_name(self) -> str:
        """As bpftool has it; newer types than this module knows are numbers."""
        return _TYPES[self.type] if self.type < len(_TYPES) else f"type {self.type}"

    @property
    def value_stride(self) -> int:
        """Bytes of a value as bpf(2) copies it: of all CPUs, each rounded up to 8."""
        if self.type not in (*PERCPU_HASHES, _PERCPU_ARRAY):
            return self.value_size
        return (self.value_size + 7) // 8 * 8 * possible_cpus()


@dataclass(frozen=True)
class ProgInfo:
    """The parts of struct bpf_prog_info in use here."""

    id: int
    type: int
    name: str
    btf_id: int
    map_ids: tuple[int, ...]


def parse_cpus(text: str) -> int:
    """Return how many CPUs a list of the kernel names, as 0-3,8."""
    ends = [part.split("-") for part in text.strip().split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def possible_cpus() -> int:
    return parse_cpus(Path("/sys/devices/system/cpu/possible").read_text())


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def _info(fd: int, info: Buffer) -> bytes:
    attr = struct.pack("=IIQ", fd, len(info), ctypes.addressof(info))
    call(_OBJ_GET_INFO_BY_FD, attr)
    return info.raw


def open_pinned(path: Path) -> int:
    """Return a file descriptor of the object pinned at `path`."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return call(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def open_map(map_id: int) -> int:
    """Return a file descriptor of the map with this id."""
    return call(_MAP_GET_FD_BY_ID, struct.pack("=III", map_id, 0, 0))


@contextlib.contextmanager
def opened(map_id: int) -> Iterator[int]:
    """A file descriptor of the map with this id."""
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
    fd = call(_PROG_GET_FD_BY_ID, struct.pack("=III", prog_id, 0, 0))
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
    """Yield the ids of all programs in the kernel."""
    return _ids(_PROG_GET_NEXT_ID)


def map_ids() -> Iterator[int]:
    """Yield the ids of all maps in the kernel."""
    return _ids(_MAP_GET_NEXT_ID)


def _ids(command: int) -> Iterator[int]:
    current = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("=I", current), _ATTR_SIZE)
        try:
            call(command, attr)
        except FileNotFoundError:
            return
        current = struct.unpack_from("=I", attr.raw, 4)[0]
        yield current


def open_iterator(link: int) -> int:
    """Return a file descriptor to read an iterator's output from, once.

    Linux 5.8 and later.
    """
    return call(_ITER_CREATE, struct.pack("=II", link, 0))


def progs_of_object(btf_id: int) -> list[ProgInfo]:
    """Return the programs that were loaded from the object file whose BTF has this id.

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
    """Return the value of `key`; FileNotFoundError when there is none."""
    value = ctypes.create_string_buffer(value_size)
    key_buffer = ctypes.create_string_buffer(key, len(key))
    attr = struct.pack(
        "=I4xQQQ", fd, ctypes.addressof(key_buffer), ctypes.addressof(value), 0
    )
    call(_MAP_LOOKUP_ELEM, attr)
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set the value of `key`, which is added where the type of map has it."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value_buffer = ctypes.create_string_buffer(value, len(value))
    addresses = map(ctypes.addressof, (key_buffer, value_buffer))
    call(_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", fd, *addresses, 0))


def batches(fd: int, info: MapInfo) -> Iterator[tuple[int, Buffer]]:
    """Yield what each LOOKUP_BATCH finds in a map: how many, the values.

    Of hash maps with Linux 5.6 and later, of per-CPU arrays with 5.13.

    The values lie one `value_stride` apart, until the next batch. The kernel copies
    whole buckets, each under its lock: what stays in the map is seen exactly once.
    """
    stride = info.value_stride
    room = min(info.max_entries, BATCH_ENTRIES, max(1, _BATCH_BYTES // stride))
    keys, values = _buffer(info.key_size * room), _buffer(stride * room)
    place, start, code = _buffer(8), 0, 0
    while code != errno.ENOENT:
        addresses = map(ctypes.addressof, (place, keys, values))
        packed = struct.pack("=4Q2I2Q", start, *addresses, room, fd, 0, 0)
        attr = ctypes.create_string_buffer(packed, _ATTR_SIZE)
        code = _outcome(_MAP_LOOKUP_BATCH, attr)
        yield struct.unpack_from("=I", attr.raw, 32)[0], values
        start = ctypes.addressof(place)
        if code == errno.ENOSPC:  # the next bucket alone holds more
            room *= 2
            keys, values = _buffer(info.key_size * room), _buffer(stride * room)


def _outcome(command: int, attr: Buffer) -> int:
    """Return 0, or why a walk was interrupted or is over; other errors are raised."""
    try:
        call(command, attr)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOSPC, errno.EBUSY):
            raise
        return error.errno
    return 0


def walk_values(fd: int, info: MapInfo) -> Iterator[bytes]:
    """Yield every value of a hash map or per-CPU array, of all CPUs in turn."""
    stride = info.value_stride
    for found, values in batches(fd, info):
        read = ctypes.string_at(values, found * stride)
        for i in range(found):
            yield read[i * stride : (i + 1) * stride]


def walk_keys(fd: int, key_size: int) -> Iterator[bytes]:
    """Yield every key of a map, by GET_NEXT_KEY.

    Exact only while nobody deletes: the walk starts anew when its key has gone.
    """
    buffer = ctypes.create_string_buffer(key_size)
    key = 0
    while True:
        attr = struct.pack("=I4xQQQ", fd, key, ctypes.addressof(buffer), 0)
        try:
            call(_MAP_GET_NEXT_KEY, attr)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield buffer.raw
        key = ctypes.addressof(buffer)


def fdinfo(fd: int) -> Path:
    return Path(f"/proc/self/fdinfo/{fd}")


def memlock_bytes(fdinfo: str) -> int:
    """Return memory the kernel charges for a map; exact for all hash maps since 6.4."""
    try:
        return procfs.field_after(fdinfo, "memlock:")
    except KeyError:
        raise OSError(errno.ENOENT, "no memlock in fdinfo") from None
