# SPDX-License-Identifier: GPL-2.0-only
"""Experiments that nobody ran, of any size, to measure the analysis by.

Every run is different, and has the files, columns and facts of a real one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.model import (
    CONTROL,
    CSV_COLUMNS,
    NO_CLEANUP,
    TEST,
    Metric,
    Outcome,
    Plan,
    RunResult,
    RunSpec,
)
from experiments.store.experiment import Experiment
from experiments.store.schema import result_json

ROWS = 300
_INTERVAL_S = 2.0
_WORKLOADS = ("hackbench", "stress-ng")
_ARMS = ((CONTROL, NO_CLEANUP), (TEST, "scan"))
_SAMPLERS = (
    *("bpf-map", "counters", "cpu", "forks", "memory", "sched-latency"),
    *("schedstat", "slab-cache"),
)
_KNOBS = {
    "max_entries": 65536,
    "prealloc": False,
    "lru_entries": 1024,
    "period_ms": 100,
    "budget_us": 500,
    "max_age_ms": 2000,
    "fifo": False,
}
_STATE = {"state": "enabled", "ops": "scx_simple", "enable_seq": 7, "nr_rejected": 0}


def make(path: Path, runs: int) -> Experiment:
    """An experiment of `runs` finished runs, half of them control."""
    per_block = len(_ARMS)
    specs = [
        _spec(_WORKLOADS[block % len(_WORKLOADS)], block, variant, cleanup)
        for block in range(runs // per_block)
        for variant, cleanup in _ARMS
    ]
    config = {"duration_s": specs[0].duration_s}
    experiment = Experiment.create(path, Plan(1, tuple(specs)), config, {})
    for spec in specs:
        write_run(experiment, spec)
    return experiment


def _spec(workload: str, block: int, variant: str, cleanup: str) -> RunSpec:
    return RunSpec(
        scheduler="scx_simple",
        variant=variant,
        cleanup=cleanup,
        workload=workload,
        run=block // len(_WORKLOADS) + 1,
        block=block + 1,
        seed=block,
        duration_s=int((ROWS - 1) * _INTERVAL_S),
        sample_interval_s=_INTERVAL_S,
        workload_params={"groups": 4, "loops": 30},
        knobs=_KNOBS,
    )


def write_run(experiment: Experiment, spec: RunSpec, seed: int = 0) -> None:
    """A run's CSV and JSON, without the fsync of each that a real run can afford."""
    rng = random.Random(f"{spec.run_id}-{seed}")
    files = experiment.files(spec)
    files.csv.parent.mkdir(parents=True, exist_ok=True)
    files.csv.write_text(_csv(spec, rng))
    p99_us, round_s = rng.gauss(3e3, 9e2), rng.gauss(0.5, 0.02)
    result = RunResult(
        spec,
        spec.run_id,
        Outcome.OK,
        metrics=(
            Metric("round_time", round_s, "s", lower_is_better=True),
            Metric("rounds", 1 / round_s, "1/s", lower_is_better=False),
            Metric("run_queue_latency_p99", p99_us, "us", lower_is_better=True),
        ),
        proof=_proof(),
        facts=_facts(rng),
    )
    files.json.write_bytes(result_json(result))


def _csv(spec: RunSpec, rng: random.Random) -> str:
    slope = rng.gauss(235, 15)
    rows = [",".join(CSV_COLUMNS)]
    for i in range(ROWS):
        time_s = i * _INTERVAL_S + (rng.random() / 500 if i else 0.0)
        born = int(100 + slope * time_s + 40 * rng.random())
        kept = born if spec.variant == CONTROL else min(born, 600 + rng.randrange(90))
        rows.append(f"{time_s:.3f},{kept},{_cells(born, kept, time_s, rng.random())}")
    return "\n".join(rows) + "\n"


def _cells(born: int, kept: int, time_s: float, noise: float) -> str:
    """All columns but the first two."""
    gone, busy, second = born - kept, time_s + noise, int(time_s)
    return (
        f"{1843404 + int(4e3 * noise)},{39.8671875 + kept / 8},{gone},{born},0,"
        f"{second},{16384 * second},{second // 5},{150660 + int(9 * busy)},"
        f"{120000 * second},{1025.5 + kept / 8},{born - 60},0,{kept - kept // 9},0,"
        f"{born - 80},{15716 + kept // 5},568,{67.5 + kept / 8},{int(5e9 * busy)},"
        f"{int(1400 * busy)},{int(2100 * busy)},{86 + noise:.1f},{2 + noise:.1f},"
        f"{1.7 * busy:.6f},{19532 + noise:.4f},{133669 + noise:.4f},"
        f"{180164 + noise:.4f},{213497 + noise:.2f},{2029 + int(400 * noise)}"
    )


def _proof() -> Mapping[str, Any]:
    return {"before": _STATE, "share_of_threads_in_sched_ext": 1.0, "after": _STATE}


def _facts(rng: random.Random) -> Mapping[str, Any]:
    octaves = [12.288 * 2**k for k in range(26)]
    edges = [low * part for low in octaves for part in (1, 1.25, 1.5, 1.75)]
    cost = {"samples": ROWS, "wall_us_max": 5e3}
    return {
        "map_entries_by": "iterator",
        "load_s": 0.539,
        "lateness_us": {"p50": 1e3 * rng.random(), "p99": 12286.6, "max": 12286.6},
        "load_cpu_s": rng.gauss(500, 20),
        "sampling": {
            s: {**cost, "cpu_us": 1e3 * rng.random(), "wall_us": 1e3} for s in _SAMPLERS
        },
        "run_queue_latency": {
            "from_us": edges[:-1],
            "to_us": edges[1:],
            "count": [rng.randrange(1, 4000) for _ in edges[1:]],
        },
    }
