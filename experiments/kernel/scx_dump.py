# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel dumps when it throws a scheduler out: the event sched_ext_dump.

Per CPU and per runnable task, with its stack, and the event counters. It is read from a
tracing instance of our own, so that nobody else's tracing is disturbed, nor ours.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
#: The names of our instances begin so.
PREFIX = "scxlab-"
_ENABLE = "events/sched_ext/sched_ext_dump/enable"
_MARK = "sched_ext_dump: "
#: Of the ring buffer, for each CPU: a dump of a thousand tasks.
_BUFFER_KB = 1024
#: More is cut off: a dump has a part for each runnable task.
MOST_BYTES = 1 << 20
_READ_BYTES = 1 << 16


@functools.cache
def kept() -> ScxDump:
    """Return the dumps of all runs of this process; making one takes 0.15 s."""
    dump = ScxDump().__enter__()
    atexit.register(dump.__exit__)
    return dump


class ScxDump:
    """Dumps while the block runs; ``missing`` says why there can be none."""

    def __init__(self) -> None:
        self.missing = ""
        self._instance = TRACEFS / "instances" / f"{PREFIX}{os.getpid()}"
        self._pipe = -1

    def __enter__(self) -> ScxDump:
        try:
            self._instance.mkdir(exist_ok=True)  # of one who was killed
            (self._instance / "buffer_size_kb").write_text(str(_BUFFER_KB))
            (self._instance / _ENABLE).write_text("1")
            flags = os.O_RDONLY | os.O_NONBLOCK
            self._pipe = os.open(self._instance / "trace_pipe", flags)
        except OSError as error:
            self.missing = f"the event sched_ext_dump cannot be traced: {error}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        with contextlib.suppress(OSError):
            self._instance.rmdir()

    def text(self) -> str:
        """Return what has been dumped since it was asked last, without the tracer's
        own columns.
        """
        raw = b"".join(self._chunks()).decode(errors="replace")
        found = (line.partition(_MARK) for line in raw.splitlines())
        return "".join(f"{dumped}\n" for _, mark, dumped in found if mark)

    def _chunks(self) -> Iterator[bytes]:
        left = MOST_BYTES if self._pipe >= 0 else 0
        while left > 0:
            try:
                chunk = os.read(self._pipe, min(left, _READ_BYTES))
            except BlockingIOError:  # all has been read
                return
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
