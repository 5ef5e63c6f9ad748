# SPDX-License-Identifier: GPL-2.0-only
"""The line to an agent: words go in, events and files come out, and all has an end.

In a guest it is a virtio port, which is QEMU's own stdin and stdout; on this machine it
is the agent's. protocol.py says what goes over it. Nothing of what comes is trusted.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.agent import returned
from experiments.agent.frames import EVENT, RESULT, Frame, FrameError, Reader
from experiments.agent.protocol import VERSION, Event, Word, request
from experiments.errors import BackendLost, FormatError, HelperLost

#: What needs the process at the other end ends with it, and may be the first to.
_AFTER_S = 2.0
_LONGEST_TICK = 200
_LONGEST_TRACEBACK = 8 << 10


@dataclass(frozen=True)
class Patience:
    """Seconds that an agent may be silent, and that a job may take in all."""

    silence_s: float
    job_s: float


@dataclass(frozen=True)
class Answer:
    """What an agent did with a job: the files it sent, and its last event."""

    files: Mapping[str, bytes]
    done: Mapping[str, Any]

    def result(self) -> bytes:
        """Return the result as it was sent; FormatError when there is none."""
        if RESULT not in self.files:
            raise FormatError("there is no result")
        return self.files[RESULT]


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
        self._reader = Reader(process.stdout.fileno(), self._wait)
        self._needed = {
            os.pidfd_open(each.pid): name for name, each in (needed or {}).items()
        }

    def _lost(self, what: str) -> BackendLost:
        return BackendLost(f"the {self._who} {what}: {self._last_words(self._who)}")

    def _no_sense(self, why: Exception) -> BackendLost:
        return BackendLost(f"the {self._who} sent what makes no sense: {why}")

    def _wait(self, deadline: float) -> None:
        fd = self._out.fileno()
        left = deadline - time.monotonic()
        ready = _ready([fd, *self._needed], left) if left > 0 else []
        if not ready:
            raise self._lost("went silent")
        if fd not in ready and not _ready([fd], _AFTER_S):
            helper = self._needed[ready[0]]
            raise HelperLost(
                f"the {self._who} lost its {helper}, which ended: "
                f"{self._last_words(helper)}"
            )

    def _frame(self, deadline: float) -> Frame:
        try:
            frame = self._reader.frame(deadline)
        except FrameError as error:
            raise self._no_sense(error) from None
        if frame is None:
            raise self._lost("died")
        return frame

    def hello(self, timeout_s: float) -> Mapping[str, Any]:
        """Wait for the agent; return its facts of the kernel.

        Raises BackendLost when none comes in time, HelperLost when none can.
        """
        frame = self._frame(time.monotonic() + timeout_s)
        with self._making_sense():
            if frame.name != EVENT:
                raise FormatError("a file, and no hello")
            said = returned.event(frame.payload)
            if said.get("protocol") != VERSION:
                spoken = str(said.get("protocol"))[:20]
                raise self._lost(f"speaks protocol {spoken}, not {VERSION}")
            return returned.facts(said)

    @contextlib.contextmanager
    def _making_sense(self) -> Iterator[None]:
        """Whoever sends what makes no sense is lost."""
        try:
            yield
        except FormatError as error:
            raise self._no_sense(error) from None

    def ask(
        self,
        job: str,
        patience: Patience,
        word: Word = Word.RUN,
        tick: Callable[[str], None] = lambda text: None,
    ) -> Answer:
        """Hand the agent a job file (a path as it sees it); return its answer.

        `word` may be CHECK, to hear what is missing for it. `tick` gets what it says
        meanwhile.

        Raises BackendLost when the agent dies, says nothing for too long, takes too
        long, or sends what makes no sense.
        """
        try:
            self._in.write(request(word, job))
            self._in.flush()
        except BrokenPipeError:
            raise self._lost("died") from None
        end = time.monotonic() + patience.job_s
        files: dict[str, bytes] = {}
        while True:
            frame = self._in_time(end, patience)
            with self._making_sense():
                if frame.name == EVENT:
                    said = returned.event(frame.payload)
                    if said["event"] == Event.DONE:
                        return Answer(files, said)
                    self._hear(said, tick)
                elif frame.name in files:
                    raise FormatError(f"{frame.name} came twice")
                else:
                    files[frame.name] = frame.payload

    def _in_time(self, end: float, patience: Patience) -> Frame:
        now = time.monotonic()
        if now >= end:
            raise self._lost(f"took longer than {patience.job_s:.0f} s for a job")
        return self._frame(min(end, now + patience.silence_s))

    def _hear(self, said: Mapping[str, Any], tick: Callable[[str], None]) -> None:
        if said["event"] == Event.CRASHED:
            trace = returned.text(said, "text", _LONGEST_TRACEBACK)
            raise BackendLost(f"the agent crashed:\n{trace}")
        if said["event"] != Event.TICK:
            raise FormatError("an event that there is not")
        tick(returned.text(said, "text", _LONGEST_TICK).replace("\n", " "))

    def close(self) -> None:
        for stream in (self._in, self._out):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        while self._needed:
            os.close(self._needed.popitem()[0])


def _ready(fds: list[int], timeout_s: float) -> list[int]:
    """Return those that can be read, or whose other end is gone; maybe none."""
    poll = select.poll()  # select() knows descriptors up to 1023 alone
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(max(0.0, timeout_s) * 1000)]
