# SPDX-License-Identifier: GPL-2.0-only
"""Keep what somebody prints without end: its beginning and its end, in a file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

#: Of the beginning, and of the end; what is between is left out.
HALF_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16


class CappedLog:
    """What comes from `fd`, which is closed at its end, goes to the file at `path`.

    The beginning is in the file at once, also when this process is killed.
    """

    def __init__(self, fd: int, path: Path, half_bytes: int = HALF_BYTES) -> None:
        self.path = path
        self._fd = fd
        self._half = half_bytes
        self._end = bytearray()
        self._left_out = 0
        path.write_bytes(b"")
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        room = self._half
        with self.path.open("ab", buffering=0) as file:
            while chunk := self._read():
                file.write(chunk[:room])
                self._end += chunk[room:]
                room -= min(room, len(chunk))
                beyond = max(0, len(self._end) - self._half)
                self._left_out += beyond
                del self._end[:beyond]
            if self._left_out:
                file.write(b"\n[... %d bytes were left out]\n" % self._left_out)
            file.write(self._end)
        os.close(self._fd)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _CHUNK_BYTES)
        except ConnectionResetError:  # a socket whose other end died
            return b""

    def join(self, timeout_s: float) -> None:
        """Wait until all has come; the other ends are to be closed by then."""
        self._thread.join(timeout_s)

    def text(self) -> str:
        """Return what there is by now."""
        if not self.path.exists():
            return ""
        kept = self.path.read_bytes()
        if self._thread.is_alive():
            kept += bytes(self._end)
        return kept.decode(errors="replace")
