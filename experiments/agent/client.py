# SPDX-License-Identifier: GPL-2.0-only
"""The line to an agent: words go in, events come out, and silence has an end.

In a guest it is a serial port, which is QEMU's own stdin and stdout; on this machine it
is the agent's. protocol.py says what goes over it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from experiments.agent.protocol import VERSION, Event, Word, parse_event, request
from experiments.errors import BackendLost, HelperLost

_READ_BYTES = 1 << 16
#: What needs the process at the other end ends with it, and may be the first to.
_AFTER_S = 2.0


class Line:
    """Over stdin and stdout of `process`, which were started as pipes.

    `who` is at the other end, for messages. It cannot live without `needed`, processes
    by name: when one of them ends, the line is dead. `last_words` says why the one of
    that name died.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        who: str,
        last_words: Callable[[str], str],
        needed: Mapping[str, subprocess.Popen[bytes]] | None = None,
    ) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._who = who
        self._last_words = last_words
        self._buffer = b""
        self._needed = {
            os.pidfd_open(each.pid): name for name, each in (needed or {}).items()
        }

    def _lost(self, what: str) -> BackendLost:
        return BackendLost(f"the {self._who} {what}: {self._last_words(self._who)}")

    def _line(self, deadline: float) -> bytes:
        fd = self._out.fileno()
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            ready = select.select([fd, *self._needed], [], [], left)[0]
            if not ready:
                raise self._lost("went silent")
            if fd not in ready and not select.select([fd], [], [], _AFTER_S)[0]:
                helper = self._needed[ready[0]]
                raise HelperLost(
                    f"the {self._who} lost its {helper}, which ended: "
                    f"{self._last_words(helper)}"
                )
            chunk = os.read(fd, _READ_BYTES)
            if not chunk:
                raise self._lost("died")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def event(self, timeout_s: float) -> dict[str, Any]:
        """Return the next event.

        What is no event is noise, as firmware leaves on the line.

        Raises BackendLost when none comes in time, HelperLost when none can.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if (event := parse_event(self._line(deadline))) is not None:
                return event

    def hello(self, timeout_s: float) -> Mapping[str, Any]:
        """Wait for the agent; return its facts of the kernel. Raises as event()."""
        said = self.event(timeout_s)
        if said.get("protocol") != VERSION:
            raise self._lost(f"speaks protocol {said.get('protocol')}, not {VERSION}")
        facts: Mapping[str, Any] = said["facts"]
        return facts

    def serve(
        self, job: str, silence_s: float, word: Word = Word.RUN
    ) -> Iterator[dict[str, Any]]:
        """Hand the agent a job file (a path as it sees it); its events, last `done`.

        `word` may be CHECK, to hear what is missing for it.

        Raises BackendLost when the agent dies, or says nothing for `silence_s`.
        """
        try:
            self._in.write(request(word, job))
            self._in.flush()
        except BrokenPipeError:
            raise self._lost("died") from None
        while True:
            event = self.event(silence_s)
            if event["event"] == Event.CRASHED:
                raise BackendLost(f"the agent crashed:\n{event['text']}")
            yield event
            if event["event"] == Event.DONE:
                return

    def close(self) -> None:
        for stream in (self._in, self._out):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        while self._needed:
            os.close(self._needed.popitem()[0])
