# SPDX-License-Identifier: GPL-2.0-only
"""What the harness costs: time to boot, and time of a run beyond its workload.

Measured by doing a small experiment for real, in a directory that is thrown away.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.errors import RunFailed
from experiments.model import Outcome
from experiments.plan.config import load_config
from experiments.run.runner import run_experiment
from experiments.support import tempdirs

_DURATION_S = 5


def measure() -> list[dict[str, Any]]:
    """Return rows of {what, n, median_s, min_s, max_s}; all in seconds of wall time."""
    settings = load_config(
        workloads=("custom-churn",),
        schedulers=("scx_simple",),
        cleanups=("scan",),
        duration_s=_DURATION_S,
        iterations=4,
    )
    with tempdirs.directory("bench") as directory:
        done = run_experiment(settings, "harness", directory)
        facts = [r.facts for r in done.results() if r.outcome is Outcome.OK]
        boots = [b["boot_s"] for b in done.manifest().boots]
    # The first run of a boot includes the boot and cold caches of the guest
    ended: dict[int, list[Mapping[str, Any]]] = {}
    for fact in sorted(facts, key=lambda f: f["ended_at_uptime_s"]):
        ended.setdefault(fact["boot"], []).append(fact)
    later = [fact for of_boot in ended.values() for fact in of_boot[1:]]
    if not later:
        raise RunFailed("too few runs ended OK to measure anything")
    beyond = [f["turnaround_s"] - _DURATION_S for f in later]
    return [
        _row("boot to first command", boots),
        _row("run beyond its workload", beyond),
        _row("  of it loading", [f["load_s"] for f in later]),
        _row("  of it unloading", [f["unload_s"] for f in later]),
    ]


def _row(what: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "what": what,
        "n": len(values),
        "median_s": round(statistics.median(values), 2),
        "min_s": round(min(values), 2),
        "max_s": round(max(values), 2),
    }
