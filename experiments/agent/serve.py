# SPDX-License-Identifier: GPL-2.0-only
"""The agent as a program: it serves jobs until its input ends.

It runs at SCHED_FIFO 1, which keeps it on time, and out of the scheduler under test and
its maps. On SIGTERM it unloads what it has loaded.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from experiments.agent import frames, protocol
from experiments.agent.protocol import Event, Word
from experiments.agent.run_job import execute, missing, release_samplers
from experiments.kernel import procfs
from experiments.model import Job

#: Each has a directory with its name.
_PORTS = Path("/sys/class/virtio-ports")


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


def open_port(port: str) -> tuple[IO[bytes], int]:
    """Return where lines come from, and the descriptor that frames go to.

    Whoever has opened a virtio port keeps all others out of it.
    """
    if port == "-":
        return sys.stdin.buffer, sys.stdout.fileno()
    (name,) = (f.parent.name for f in _PORTS.glob("*/name") if _read(f) == port)
    fd = os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)
    return os.fdopen(fd, "rb", closefd=False), fd


def _read(file: Path) -> str:
    return file.read_text().strip()


def _give_up(signum: int, frame: object) -> NoReturn:
    """Leave through all open context managers, which clean up.

    No second signal stops them.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def serve(port: str, folder: str | None = None) -> None:
    """Serve jobs over the virtio port of that name, or over stdin and stdout (`-`).

    The agent's own files go to `folder`, or where those of the machine do.
    """
    signal.signal(signal.SIGTERM, _give_up)
    tempfile.tempdir = folder
    lines, out = open_port(port)

    def say(event: Event, **values: object) -> None:
        frames.send(out, frames.EVENT, protocol.event_payload(event, **values))

    be_on_time()
    say(Event.HELLO, protocol=protocol.VERSION, facts=facts())
    try:
        while (line := lines.readline()).strip():
            word, path = protocol.parse_request(line)
            # Its files are for the agent alone: a workload is somebody else
            with tempfile.TemporaryDirectory(prefix="scxlab-job-") as own:
                job = protocol.read_job(path, Path(own))
                _answer(word, job, say, out)
    finally:
        release_samplers()


def _answer(word: Word, job: Job, say: Callable[..., None], out: int) -> None:
    if word is Word.CHECK:
        say(Event.DONE, missing=missing(job))
        return
    try:
        result = execute(job, lambda text: say(Event.TICK, text=text))
        payload = protocol.result_payload(result)
    except Exception:
        # A defect of ours: it must not look like a silent agent
        say(Event.CRASHED, text=traceback.format_exc())
        raise
    for name in protocol.RUN_FILES:
        if (file := job.out_dir / name).exists():
            frames.send(out, name, frames.fitting(name, file))
    frames.send(out, frames.RESULT, payload)
    say(Event.DONE)
