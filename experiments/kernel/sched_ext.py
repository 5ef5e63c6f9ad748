# SPDX-License-Identifier: GPL-2.0-only
"""/sys/kernel/sched_ext: which scheduler the kernel runs (Linux 6.12 and later)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.kernel.kmsg import KmsgRecord
from experiments.kernel.procfs import PROC

SYSFS = Path("/sys/kernel/sched_ext")
_POLL_S = 0.01
_ORDERLY = "(unregistered from user space)"
#: The kind of an exit that was asked for by whoever loaded it (enum scx_exit_kind).
EXIT_UNREG = 64


@dataclass(frozen=True)
class SchedExtStatus:
    """What the kernel says at one moment.

    ``ops`` is empty when no scheduler is loaded; ``enable_seq`` counts the schedulers
    enabled since boot; ``nr_rejected`` the tasks that were refused; ``switch_all`` is 1
    when all ordinary tasks are its own.
    """

    state: str
    ops: str
    enable_seq: int
    nr_rejected: int
    switch_all: int

    @property
    def enabled(self) -> bool:
        return self.state == "enabled"


def available() -> bool:
    return SYSFS.is_dir()


def _read(name: str) -> str:
    try:
        return (SYSFS / name).read_text().strip()
    except (FileNotFoundError, OSError):
        # root/ goes away under the reader when a scheduler is unloaded
        return ""


def status() -> SchedExtStatus:
    return SchedExtStatus(
        state=_read("state"),
        ops=_read("root/ops"),
        enable_seq=int(_read("enable_seq") or 0),
        nr_rejected=int(_read("nr_rejected") or 0),
        switch_all=int(_read("switch_all") or 0),
    )


def events() -> dict[str, int]:
    """Return the core's event counters of the loaded scheduler.

    Linux 6.15 and later; empty before.
    """
    pairs = (line.split() for line in _read("root/events").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def share_in_sched_ext(tids: Iterable[int]) -> float | None:
    """Return the share of these threads that a BPF scheduler schedules now.

    From `ext.enabled` of /proc/<tid>/sched; None when no thread could be asked.
    """
    enabled = []
    for tid in tids:
        try:
            text = (PROC / str(tid) / "sched").read_text()
        except OSError:  # it has ended
            continue
        found = [line for line in text.splitlines() if line.startswith("ext.enabled")]
        enabled += [int(line.split()[-1]) for line in found]
    return sum(enabled) / len(enabled) if enabled else None


def wait_for(
    wanted: Callable[[SchedExtStatus], bool], deadline_s: float
) -> SchedExtStatus:
    """Return the first status that is `wanted`, or the last one when the time is up."""
    end = time.monotonic() + deadline_s
    while not wanted(now := status()) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return now


def ejection_message(records: Iterable[KmsgRecord]) -> str:
    """Return what the kernel wrote about throwing a scheduler out, in one line.

    Or nothing.

    kernel/sched/ext.c prints `BPF scheduler "X" disabled (reason)` and, when there
    is a message, a further line `X: message`; all with the prefix `sched_ext: `. An
    orderly end has a reason, too.
    """
    lines = [
        record.text.removeprefix("sched_ext: ")
        for record in records
        if record.text.startswith("sched_ext: ")
    ]
    ends = [i for i, line in enumerate(lines) if " disabled (" in line]
    start = next((i for i in ends if _ORDERLY not in lines[i]), None)
    return "; ".join(lines[start : start + 3]) if start is not None else ""
