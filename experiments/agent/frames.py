# SPDX-License-Identifier: GPL-2.0-only
"""A stream of bytes in frames, from an agent whose kernel may send anything.

A frame is a line of ASCII, and as many bytes as it says:

    scxlab/2 NAME LENGTH SHA256\\n

NAME is one of CAPS, LENGTH is decimal and at most that name's cap, SHA256 is
hexadecimal and that of "NAME LENGTH " and the bytes. No frame has a say in where its
bytes are kept.

Where a frame begins only the one before it tells, so nothing after a wrong byte can be
trusted: the reader gives up at the first, and whoever sent it is lost.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: A word on progress; the names of the others are those of files.
EVENT = "event"
RESULT = "result.json"

#: The most bytes of each.
CAPS: Mapping[str, int] = {
    EVENT: 64 << 10,
    RESULT: 4 << 20,
    "samples.csv": 64 << 20,
    "dmesg.log": 8 << 20,
    "workload.log": 8 << 20,
    "load.log": 1 << 20,
    "dump.log": 2 << 20,
}

_CHUNK_BYTES = 1 << 16
_HEADER_BYTES = 128
_HEADER = re.compile(rb"scxlab/2 ([a-z.]{1,16}) (0|[1-9][0-9]{0,8}) ([0-9a-f]{64})")
_CUT = b"\n[... %d bytes more were left out]\n"


class FrameError(Exception):
    """What came is no frame; nothing after it can be trusted."""


@dataclass(frozen=True)
class Frame:
    name: str
    payload: bytes


def _digest(name: str, payload: bytes | bytearray) -> str:
    hashed = hashlib.sha256(f"{name} {len(payload)} ".encode())
    hashed.update(payload)
    return hashed.hexdigest()


def fitting(name: str, file: Path) -> bytes:
    """Return what of a file goes into a frame; a log says itself that it was cut.

    A table of samples is cut at the end of a line: those of the rest are missing.
    """
    most, size = CAPS[name], file.stat().st_size
    with file.open("rb") as opened:
        payload = opened.read(most)
    if size <= most:
        return payload
    if name.endswith(".csv"):
        return payload[: payload.rfind(b"\n") + 1]
    words = _CUT % (size - most)
    return payload[: most - len(words)] + words


def send(fd: int, name: str, payload: bytes) -> None:
    """Write a frame, of a payload within its cap.

    A virtio port takes at most 32 KiB of a write, a pipe what there is room for.
    """
    header = f"scxlab/2 {name} {len(payload)} {_digest(name, payload)}\n"
    for part in (header.encode(), payload):
        view = memoryview(part)
        while view:
            view = view[os.write(fd, view) :]


class Reader:
    """The other end: never holds more than a frame and a header.

    `wait` returns when `fd` can be read, and raises when it will not be in time; it is
    asked before each read, so a sender that never stops is late, too.
    """

    def __init__(self, fd: int, wait: Callable[[float], None]) -> None:
        self._fd = fd
        self._wait = wait
        self._head = b""

    def frame(self, deadline: float) -> Frame | None:
        """Return the next frame; None when the stream ends, whole or not.

        `deadline` is of time.monotonic(). Raises what `wait` raises, and FrameError for
        everything that is no frame.
        """
        while b"\n" not in self._head:
            if len(self._head) >= _HEADER_BYTES:
                raise FrameError("no header of a frame")
            if not (chunk := self._read(_HEADER_BYTES - len(self._head), deadline)):
                return None
            self._head += chunk
        line, _, rest = self._head.partition(b"\n")
        name, length, digest = _parse(line)
        payload, self._head = bytearray(rest[:length]), rest[length:]
        while len(payload) < length:
            if not (chunk := self._read(length - len(payload), deadline)):
                return None
            payload += chunk
        if _digest(name, payload) != digest:
            raise FrameError(f"the bytes of {name} are not those that were sent")
        return Frame(name, bytes(payload))

    def _read(self, most: int, deadline: float) -> bytes:
        self._wait(deadline)
        return os.read(self._fd, min(most, _CHUNK_BYTES))


def _parse(line: bytes) -> tuple[str, int, str]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise FrameError("no header of a frame")
    name, length = match[1].decode(), int(match[2])
    if name not in CAPS:
        raise FrameError("a frame of a name that there is not")
    if length > CAPS[name]:
        raise FrameError(f"{length} bytes of {name}, of which {CAPS[name]} are taken")
    return name, length, match[3].decode()
