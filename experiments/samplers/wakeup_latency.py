# SPDX-License-Identifier: GPL-2.0-only
"""How late a thread with a timer runs: cyclictest, with an ordinary policy.

Not on by default: it is a task of its own, which wakes up a thousand times a second. It
is in no cgroup of the workload, and counts as any other task for the scheduler.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.model import Job, LoadedScheduler, Metric
from experiments.plugins import Sampler
from experiments.support.proc import end, last_lines, start

_PROGRAM = "cyclictest"
#: Without default-system it would ask for /dev/cpu_dma_latency, and change the machine.
_ARGV = (_PROGRAM, "--quiet", "--policy=other", "--default-system", "--threads=1")
_INTERVAL_US = 1000
#: Later ones are counted, but only the longest is known of them.
_HISTOGRAM_US = 200_000
_END_TIMEOUT_S = 10
_SHARES = {"p50": 0.5, "p99": 0.99}


def percentiles_us(counts: Mapping[int, int]) -> dict[str, float]:
    """Return percentiles of a histogram us -> how often; empty without any."""
    total = sum(counts.values())
    found = {}
    for name, share in _SHARES.items():
        seen = 0
        for late_us in sorted(counts):
            seen += counts[late_us]
            if seen >= share * total:
                found[name] = float(late_us)
                break
    return found


def read(said: str) -> tuple[dict[str, float], int]:
    """Return percentiles and the longest (us), and how many, of its JSON."""
    thread = json.loads(said)["thread"]["0"]
    counts = {int(us): int(n) for us, n in thread["histogram"].items()}
    return percentiles_us(counts) | {"max": float(thread["max"])}, thread["cycles"]


class WakeupLatencySampler(Sampler):
    name = "wakeup-latency"
    by_default = False

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._json = job.out_dir / "cyclictest.json"
        self._log = job.out_dir / "cyclictest.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._found: tuple[dict[str, float], int] | None = None

    def missing(self) -> Sequence[str]:
        if shutil.which(_PROGRAM) is None:
            return (f"no {_PROGRAM}: apt-get install rt-tests",)
        return ()

    def sample(self) -> Mapping[str, float]:
        if self._process is None:
            argv = [*_ARGV, f"--interval={_INTERVAL_US}", f"--json={self._json}"]
            with self._log.open("wb") as log:
                self._process = start(
                    [*argv, f"--histogram={_HISTOGRAM_US}"],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=Path("/tmp"),
                )
        return {}

    def finish(self) -> Mapping[str, Any]:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)
        try:
            self._found = read(self._json.read_text())
        except (OSError, ValueError, KeyError):
            return {"wakeup_latency": {"failed": last_lines(self._log.read_text(), 3)}}
        return {"wakeup_latency": {"cycles": self._found[1]}}

    def metrics(self) -> Sequence[Metric]:
        values = self._found[0] if self._found else {}
        return [
            Metric(f"wakeup_latency_{name}", value, "us", True)
            for name, value in values.items()
        ]

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            end(self._process, grace_s=1)


SAMPLER = WakeupLatencySampler
