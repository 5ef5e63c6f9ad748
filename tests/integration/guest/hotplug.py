# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest: CPU 1 goes offline under tasks that wait, and comes back.

All never sleep, and most are bound to CPU 1, so that its queue is full when it goes. It
prints how long the kernel took to put the CPU away, and how long the task that ran
least has run since.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.model import Metric, Parameter, Round, RunSpec

ONLINE = Path("/sys/devices/system/cpu/cpu1/online")
BOUND, FREE = 30, 4
NEVER = 1e9
#: Until all of them have waited, and how long they are watched without the CPU.
BEFORE_S, WITHOUT_S = 1.0, 8.0


class Hotplug:
    name = "hotplug"
    summary = "a CPU goes offline and comes back"
    parameters: dict[str, Parameter] = {}
    sustained = True
    #: The file is root's; whoever watches does not wait with the others.
    capabilities = ("dac_override", "sys_nice")

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        code = Path(__file__).parents[1]
        script = (sys.executable, "-B", "-m", "workloads.hotplug")
        return ("env", f"PYTHONPATH={code}", *script, str(spec.duration_s))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        said = json.loads(rounds[0].output)
        return [Metric(name, value, "s", False) for name, value in said.items()]


WORKLOAD = Hotplug()


def spinner(cpus: set[int]) -> int:
    """Return a process that never sleeps."""
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, cpus)
        while True:
            pass
    return pid


def ran_s(pid: int) -> float:
    """Return how long it has run, which is the first word of schedstat, in ns."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def main(duration_s: int) -> None:
    end = time.monotonic() + duration_s
    be_real_time()
    pids = [spinner({1}) for _ in range(BOUND)]
    pids += [spinner({0, 1}) for _ in range(FREE)]
    hurry_kernel()
    time.sleep(BEFORE_S)
    before = [ran_s(pid) for pid in pids]
    took: list[float] = []
    # It does not come back where the kernel waits for a task that is left
    threading.Thread(target=put_away, args=[took], daemon=True).start()
    time.sleep(WITHOUT_S)
    ran = [ran_s(pid) - b for pid, b in zip(pids, before, strict=True)]
    if took:
        ONLINE.write_text("1")
    print(json.dumps({"put_away": [*took, NEVER][0], "ran_least": min(ran)}))
    sys.stdout.flush()
    time.sleep(max(0.0, end - time.monotonic()))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def be_real_time() -> None:
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(1))


def put_away(took: list[float]) -> None:
    be_real_time()
    began = time.monotonic()
    ONLINE.write_text("0")
    took.append(time.monotonic() - began)


def hurry_kernel() -> None:
    """Have the kernel's thread that puts the CPU away not wait behind the spinners."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        if comm.read_text().strip() == "cpuhp/1":
            policy = os.SCHED_FIFO
            os.sched_setscheduler(int(comm.parent.name), policy, os.sched_param(2))


if __name__ == "__main__":
    main(int(sys.argv[1]))
