# SPDX-License-Identifier: GPL-2.0-only
"""hackbench in process mode, round after round.

One round takes seconds, so it is repeated until the time is up; the round that the end
cuts off does not count. (`-p` would mean pipes, not processes.)
"""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.model import Metric, Parameter, Round, RunSpec

_TIME = re.compile(r"^Time: ([\d.]+)$", re.MULTILINE)
#: hackbench prints milliseconds.
_PRINTED_TO_S = 0.001


class Hackbench:
    name = "hackbench"
    summary = "groups of 20 senders and 20 receivers that pass messages, round by round"
    parameters = {
        "groups": Parameter(4, 1, 1000, "groups of 40 processes (hackbench -g)"),
        "loops": Parameter(30, 1, 1_000_000, "messages a sender (hackbench -l)"),
    }
    sustained = False

    def missing(self, bin_dir: Path) -> Sequence[str]:
        if shutil.which("hackbench") is None:
            return ("no hackbench: apt-get install rt-tests",)
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        groups, loops = (spec.workload_params[k] for k in ("groups", "loops"))
        return ("hackbench", "-g", str(groups), "-l", str(loops))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        times = [float(m[1]) for r in rounds if (m := _TIME.search(r.output))]
        if len(times) < len(rounds):
            raise ValueError("a round of hackbench printed no time")
        if not times:
            raise ValueError(
                f"no round of hackbench ended within {spec.duration_s} s: "
                "fewer groups or loops, or a longer duration"
            )
        middle = statistics.median(times)
        return (Metric("round_time", middle, "s", True, resolution=_PRINTED_TO_S),)


WORKLOAD = Hackbench()
