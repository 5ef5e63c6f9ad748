# SPDX-License-Identifier: GPL-2.0-only
"""A workload with a program of its own, as somebody would add it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.model import Metric, Parameter, Round, RunSpec

PROGRAM = "heartbeat"


class Heartbeat:
    name = "heartbeat"
    summary = "one process that wakes up at a set rate"
    parameters = {"rate": Parameter(20, 1, 1000, "times a second")}
    sustained = True

    def missing(self, bin_dir: Path) -> Sequence[str]:
        if not (bin_dir / PROGRAM).exists():
            return (f"{PROGRAM} is not built: invoke build",)
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        rate = spec.workload_params["rate"]
        return (str(bin_dir / PROGRAM), str(rate), str(spec.duration_s))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        return (Metric("beats", float(rounds[0].output), "beats", False),)


WORKLOAD = Heartbeat()
