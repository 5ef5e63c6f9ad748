# SPDX-License-Identifier: GPL-2.0-only
"""Maps of our own, to measure and to test on: made, filled and emptied by bpf(2).

Keys are u32. What is put in and taken out is exact; errors are raised as OSError.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable, Iterator

from experiments.kernel import bpf

HASH, ARRAY, PERCPU_HASH, LRU_HASH = 1, 2, 5, 9
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC

_MAP_CREATE = 0
_MAP_DELETE_ELEM = 3
_MAP_UPDATE_BATCH = 26
_KEY_SIZE = 4


@contextlib.contextmanager
def created(
    type_: int, value_size: int, max_entries: int, flags: int = 0, name: str = "scratch"
) -> Iterator[int]:
    """A descriptor of a new map, which lives until the block ends."""
    sizes = (type_, _KEY_SIZE, value_size, max_entries, flags, 0, 0)
    fd = bpf.call(_MAP_CREATE, struct.pack("=7I16s", *sizes, name.encode()))
    try:
        yield fd
    finally:
        os.close(fd)


def put(fd: int, keys: Iterable[int]) -> None:
    """Give each key a value of zeros, by UPDATE_BATCH (Linux 5.6)."""
    info = bpf.map_info(fd)
    wanted = array.array("I", keys)
    for first in range(0, len(wanted), bpf.BATCH_ENTRIES):
        some = wanted[first : first + bpf.BATCH_ENTRIES]
        values = ctypes.create_string_buffer(info.value_stride * len(some))
        addresses = some.buffer_info()[0], ctypes.addressof(values)
        bpf.call(
            _MAP_UPDATE_BATCH,
            struct.pack("=4Q2I2Q", 0, 0, *addresses, len(some), fd, 0, 0),
        )


def delete(fd: int, keys: Iterable[int]) -> None:
    """Delete keys; raises FileNotFoundError at the first that is not there."""
    for key in keys:
        buffer = ctypes.create_string_buffer(struct.pack("=I", key), _KEY_SIZE)
        attr = struct.pack("=I4xQ", fd, ctypes.addressof(buffer))
        bpf.call(_MAP_DELETE_ELEM, attr)
