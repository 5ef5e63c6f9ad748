# SPDX-License-Identifier: GPL-2.0-only
"""Bursts of short-lived processes at a set rate, by our own churn.c."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from experiments.model import Metric, Parameter, Round, RunSpec

PROGRAM = "churn"


class CustomChurn:
    name = "custom-churn"
    summary = "bursts of short-lived processes: set rate, burst size and life time"
    parameters = {
        "rate": Parameter(200, 1, 100_000, "processes a second on average"),
        "burst": Parameter(10, 1, 1000, "processes started at once"),
        "lifetime_ms": Parameter(
            50, 0, 60_000, "mean time a process sleeps, then ends"
        ),
    }
    sustained = True

    def missing(self, bin_dir: Path) -> Sequence[str]:
        if not (bin_dir / PROGRAM).exists():
            return (f"{PROGRAM} is not built: invoke build",)
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        params = spec.workload_params
        return (
            str(bin_dir / PROGRAM),
            *(str(params[k]) for k in ("rate", "burst", "lifetime_ms")),
            *(str(spec.duration_s), str(spec.seed)),
        )

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        try:
            said = json.loads(rounds[0].output.strip().splitlines()[-1])
            return (
                Metric("spawns", said["spawns_per_s"], "1/s", lower_is_better=False),
                Metric(
                    "overrun_p50", said["overrun_p50_ms"], "ms", lower_is_better=True
                ),
                Metric(
                    "overrun_p99", said["overrun_p99_ms"], "ms", lower_is_better=True
                ),
            )
        except (IndexError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{PROGRAM} printed no report: {error!r}") from None


WORKLOAD = CustomChurn()
