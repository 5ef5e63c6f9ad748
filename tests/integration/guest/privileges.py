# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest: says who it is, and tries what it must not be able to."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.kernel import bpf, cgroup
from experiments.model import Metric, Parameter, Round, RunSpec


class Privileges:
    name = "privileges"
    summary = "tries what it must not be able to"
    parameters: dict[str, Parameter] = {}
    sustained = True

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        code = Path(__file__).parents[1]
        script = (sys.executable, "-B", "-m", "workloads.privileges")
        group = str(cgroup.workload_group(spec.run_id))
        rest = (group, str(bin_dir), str(spec.duration_s))
        return ("env", f"PYTHONPATH={code}", *script, *rest)

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        return [Metric("lasted", rounds[0].wall_s, "s", False)]


WORKLOAD = Privileges()


def attempts(group: Path, bin_dir: Path) -> dict[str, Callable[[], Any]]:
    """Whoever is not root gets an OSError from each."""
    agent = os.getppid()
    return {
        "signal the agent": lambda: os.kill(agent, signal.SIGTERM),
        "see what the agent has open": lambda: list(
            Path(f"/proc/{agent}/fd").iterdir()
        ),
        "program ids": lambda: list(bpf.prog_ids()),
        "map": lambda: bpf.open_map(1),
        "pin": lambda: [p.open() for p in bpf.BPFFS.iterdir()],
        "leave its group": lambda: (cgroup.ROOT / "cgroup.procs").write_text("0"),
        "bounds": lambda: (group / "pids.max").write_text("max"),
        "sysrq": lambda: Path("/proc/sysrq-trigger").write_text("h"),
        "root": lambda: os.setuid(0),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2)),
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -1),
        "programs": lambda: (bin_dir / "new").touch(),
        "mount": _mount,
    }


def _mount() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")


def came_through(tried: dict[str, Callable[[], Any]]) -> list[str]:
    found = []
    for name, attempt in tried.items():
        try:
            attempt()
        except OSError:
            continue
        found.append(name)
    return found


def main(group: Path, bin_dir: Path, duration_s: int) -> None:
    end = time.monotonic() + duration_s
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    said = {
        "ids": [list(os.getresuid()), list(os.getresgid()), os.getgroups()],
        "capabilities": {
            k: int(v, 16) for k, v in status.items() if k.startswith("Cap")
        },
        "NoNewPrivs": int(status["NoNewPrivs"]),
        "bounds": {
            name: int((group / name).read_text()) for name in ("pids.max", "memory.max")
        },
        "came through": came_through(attempts(group, bin_dir)),
    }
    print(json.dumps(said), flush=True)
    time.sleep(max(0.0, end - time.monotonic()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
