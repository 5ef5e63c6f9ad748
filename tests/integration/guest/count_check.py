# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest: forks, then pauses, with a walk of the map at both ends.

It prints what the walks found and when, to be held against the samples that the agent
took in the pauses.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.kernel import bpf
from experiments.model import Metric, Parameter, Round, RunSpec

FORKS = 60
MOMENTS = 3


class CountCheck:
    name = "count-check"
    summary = "forks between the samples, and walks the map around them"
    parameters: dict[str, Parameter] = {}
    sustained = True
    capabilities = ("sys_admin", "bpf")

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        code = Path(__file__).parents[1]
        script = (sys.executable, "-B", "-m", "workloads.count_check")
        return ("env", f"PYTHONPATH={code}", *script, str(spec.duration_s))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        return [
            Metric(f"{name}_{moment}", value, unit, False)
            for moment, found in enumerate(json.loads(rounds[0].output))
            for name, value, unit in zip(NAMES, found, UNITS, strict=True)
        ]


NAMES = ("from", "before", "until", "after")
UNITS = ("s", "entries", "s", "entries")

WORKLOAD = CountCheck()


def tasks_map() -> int:
    """The hash map `tasks` of the scheduler's programs; a test may look by name."""
    for prog_id in bpf.prog_ids():
        for map_id in bpf.prog_info(prog_id).map_ids:
            fd = bpf.open_map(map_id)
            if bpf.map_info(fd).name == "tasks":
                return fd
            os.close(fd)
    raise SystemExit("no map of that name")


def process_start_s() -> float:
    """When this process was forked, which is when the agent started its clock."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # starttime, since boot


def main(duration_s: int) -> None:
    late = time.clock_gettime(time.CLOCK_BOOTTIME) - process_start_s()
    start = time.monotonic() - late
    fd = tasks_map()
    key_size = bpf.map_info(fd).key_size

    def walk() -> int:
        return len(set(bpf.walk_keys(fd, key_size)))

    found = []
    for moment in range(1, MOMENTS + 1):
        for _ in range(FORKS):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        before = walk()
        begin = time.monotonic() - start
        # All that is left of the moment's share of the run
        time.sleep(max(0.0, duration_s * moment / MOMENTS - begin))
        end = time.monotonic() - start
        found.append((begin, before, end, walk()))
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
