# SPDX-License-Identifier: GPL-2.0-only
"""stress-ng's fork stressor: processes that exit as soon as they exist."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments.model import Metric, Parameter, Round, RunSpec

#: `stress-ng: metrc: [42] fork  4171  7.99  4.22  10.61  521.72 ...`:
#: bogo ops (one a fork), real, user and system seconds, bogo ops a real second
_METRIC = re.compile(
    r"metrc: \[\d+\] fork\s+(?P<ops>\d+)\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+(?P<rate>[\d.]+)"
)


class StressNg:
    name = "stress-ng"
    summary = "fork storm: N stressors that fork children which exit at once"
    parameters = {"fork": Parameter(4, 1, 1024, "stressors (stress-ng --fork)")}
    sustained = True

    def missing(self, bin_dir: Path) -> Sequence[str]:
        if shutil.which("stress-ng") is None:
            return ("no stress-ng: apt-get install stress-ng",)
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        return (
            *("stress-ng", "--fork", str(spec.workload_params["fork"])),
            *("--timeout", f"{spec.duration_s}s", "--seed", str(spec.seed)),
            *("--temp-path", "/tmp", "--metrics"),
        )

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        found = _METRIC.search(rounds[0].output)
        if found is None:
            raise ValueError("stress-ng printed no metrics of its fork stressor")
        return (Metric("forks", float(found["rate"]), "1/s", lower_is_better=False),)


WORKLOAD = StressNg()
