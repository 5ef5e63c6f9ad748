# SPDX-License-Identifier: GPL-2.0-only
"""/dev/kmsg: every record of the kernel log, by sequence number.

The format is that of Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

DEVICE = Path("/dev/kmsg")
_RECORD_BYTES = 8192


@dataclass(frozen=True)
class KmsgRecord:
    """One record: its number, its time since boot, and its text."""

    seq: int
    time_us: int
    text: str

    def __str__(self) -> str:
        return f"[{self.time_us / 1e6:12.6f}] {self.text}"


def parse(raw: str) -> KmsgRecord:
    """Return one record as read(2) returns it; ValueError when it is not one."""
    head, _, rest = raw.partition(";")
    _priority, seq, time_us = head.split(",")[:3]
    return KmsgRecord(int(seq), int(time_us), rest.split("\n", 1)[0])


class Kmsg:
    """The records from now on; `lost` counts those overwritten before they were read.

    ``drain`` returns the new ones without waiting.
    """

    def __init__(self, device: Path = DEVICE) -> None:
        self.records: list[KmsgRecord] = []
        self.lost = 0
        self._fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)

    def __enter__(self) -> Kmsg:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def drain(self) -> list[KmsgRecord]:
        fresh = []
        while True:
            try:
                raw = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # EPIPE: the next read goes on at the oldest record still there
                continue
            fresh.append(parse(raw.decode(errors="replace")))
        for record in fresh:
            if self.records:
                self.lost += max(0, record.seq - self.records[-1].seq - 1)
            self.records.append(record)
        return fresh
