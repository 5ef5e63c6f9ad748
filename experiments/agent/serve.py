# SPDX-License-Identifier: GPL-2.0-only
"""The agent as a program: it serves jobs until its input ends.

It runs at SCHED_FIFO 1, which keeps it on time, and out of the scheduler under test and
its maps. On SIGTERM it unloads what it has loaded.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import signal
import sys
import termios
import traceback
import tty
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from experiments.agent import protocol
from experiments.agent.protocol import Event, Word
from experiments.agent.run_job import execute, missing, release_samplers
from experiments.kernel import procfs
from experiments.model import Job


def facts() -> Mapping[str, Any]:
    """Return this kernel and machine, as the agent sees them."""
    return {
        "kernel": platform.release(),
        "kernel_version": platform.version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "mem_total_kb": procfs.field_after(
            (procfs.PROC / "meminfo").read_text(), "MemTotal:"
        ),
        "pid_max": int((procfs.PROC / "sys/kernel/pid_max").read_text()),
        "boot_id": (procfs.PROC / "sys/kernel/random/boot_id").read_text().strip(),
        "cmdline": (procfs.PROC / "cmdline").read_text().strip(),
        "clocksource": Path(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        )
        .read_text()
        .strip(),
        "python": platform.python_version(),
    }


def be_on_time() -> None:
    """Make this process SCHED_FIFO 1; what it starts is ordinary again."""
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(1))


def _streams(device: str) -> tuple[IO[bytes], IO[bytes]]:
    """Return where lines come from, and where they go."""
    if device == "-":
        return sys.stdin.buffer, os.fdopen(sys.stdout.fileno(), "wb", buffering=0)
    stream = os.fdopen(os.open(device, os.O_RDWR), "r+b", buffering=0)
    with contextlib.suppress(termios.error):  # not every device needs a raw mode
        tty.setraw(stream.fileno())
    return io.BufferedReader(stream), stream


def _give_up(signum: int, frame: object) -> NoReturn:
    """Leave through all open context managers, which clean up.

    No second signal stops them.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def serve(device: str) -> None:
    """Serve jobs over a terminal device, or over stdin and stdout (`-`)."""
    signal.signal(signal.SIGTERM, _give_up)
    lines, out = _streams(device)

    def say(event: Event, **values: object) -> None:
        out.write(protocol.event_line(event, **values))

    be_on_time()
    say(Event.HELLO, protocol=protocol.VERSION, facts=facts())
    try:
        while (line := lines.readline()).strip():
            word, path = protocol.parse_request(line)
            _answer(word, protocol.read_job(path), say)
    finally:
        release_samplers()


def _answer(word: Word, job: Job, say: Callable[..., None]) -> None:
    if word is Word.CHECK:
        say(Event.DONE, missing=missing(job))
        return
    try:
        result = execute(job, lambda text: say(Event.TICK, text=text))
    except Exception:
        # A defect of ours: it must not look like a silent agent
        say(Event.CRASHED, text=traceback.format_exc())
        raise
    say(Event.DONE, path=str(protocol.write_result(result, job.out_dir)))
