# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest: forks, pauses, and walks the whole map in the pauses.

It prints what the walks found and when, to be held against the run's CSV.
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

FORKS = 100


class CountCheck:
    name = "count-check"
    summary = "forks between the samples, and walks the map around them"
    parameters: dict[str, Parameter] = {}
    sustained = True

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        code = Path(__file__).parents[1]
        script = (sys.executable, "-B", "-m", "workloads.count_check")
        return ("env", f"PYTHONPATH={code}", *script, str(spec.duration_s))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        said = json.loads(rounds[0].output)
        return [
            Metric(f"walk_{moment}_{when}", count, "entries", False)
            for moment, pair in said.items()
            for when, count in zip(("before", "after"), pair, strict=True)
        ]


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

    def walk_at(moment_s: float) -> int:
        time.sleep(max(0.0, start + moment_s - time.monotonic()))
        return len(set(bpf.walk_keys(fd, bpf.map_info(fd).key_size)))

    found = {}
    for moment in range(3, duration_s, 3):
        for _ in range(FORKS):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        found[moment] = walk_at(moment - 0.5), walk_at(moment + 0.5)
    time.sleep(max(0.0, start + duration_s - time.monotonic()))
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
