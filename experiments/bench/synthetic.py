# SPDX-License-Identifier: GPL-2.0-only
"""Experiments that nobody ran, of any size, to measure the analysis by.

Every run is different, and has the files, columns and facts of a real one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import registry
from experiments.columns import Column, Kind, added, header
from experiments.model import (
    CONTROL,
    NO_CLEANUP,
    TEST,
    Metric,
    Outcome,
    Plan,
    RunResult,
    RunSpec,
)
from experiments.plugins import Sampler
from experiments.store.experiment import Experiment
from experiments.store.schema import result_json

ROWS = 300
_INTERVAL_S = 2.0
_WORKLOADS = ("hackbench", "stress-ng")
_ARMS = ((CONTROL, NO_CLEANUP), (TEST, "scan"))
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
    """Return an experiment of `runs` finished runs, half of them control."""
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
    """Write a run's CSV and JSON, without the fsync that a real run can afford."""
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
            Metric("run_queue_latency_p99", p99_us, "us", lower_is_better=True),
        ),
        proof=_proof(),
        facts=_facts(rng),
    )
    files.json.write_bytes(result_json(result))


def _samplers() -> list[type[Sampler]]:
    """Return those that a run has which names none."""
    every = [registry.sampler(name) for name in registry.names("sampler")]
    return [sampler for sampler in every if sampler.by_default]


def _csv(spec: RunSpec, rng: random.Random) -> str:
    slope = rng.gauss(235, 15)
    declared = [column for sampler in _samplers() for column in sampler.columns]
    names, further = header(declared), added(declared)
    rows = [",".join(names)]
    for i in range(ROWS):
        time_s = i * _INTERVAL_S + (rng.random() / 500 if i else 0.0)
        born = int(100 + slope * time_s + 40 * rng.random())
        kept = born if spec.variant == CONTROL else min(born, 600 + rng.randrange(90))
        noise = rng.random()
        cells = _cells(born, kept, time_s, noise)
        cells |= {column.name: _cell(column, time_s, noise) for column in further}
        rows.append(",".join([cells[name] for name in names]))
    return "\n".join(rows) + "\n"


def _cell(column: Column, time_s: float, noise: float) -> str:
    """Return a number of a column that nothing is known of but its kind."""
    if column.kind is Kind.COUNTER:
        return f"{int(100 * (time_s + noise))}"
    return "100" if column.kind is Kind.PEAK else f"{99 + noise:.1f}"


def _cells(born: int, kept: int, time_s: float, noise: float) -> dict[str, str]:
    gone, busy, second = born - kept, time_s + noise, int(time_s)
    return {
        "timestamp": f"{time_s:.3f}",
        "map_entries": f"{kept}",
        "free_mem_kb": f"{1843404 + int(4e3 * noise)}",
        "slab_bpf_kb": f"{39.8671875 + kept / 8}",
        "evictions": f"{gone}",
        "inserted": f"{born}",
        "insert_failures": "0",
        "scans": f"{second}",
        "scanned": f"{16384 * second}",
        "budget_hits": f"{second // 5}",
        "longest_scan_ns": f"{150660 + int(9 * busy)}",
        "scan_time_ns": f"{120000 * second}",
        "map_memlock_kb": f"{1025.5 + kept / 8}",
        "forks": f"{born - 60}",
        "false_evictions": "0",
        "leaked": f"{kept - kept // 9}",
        "scans_refused": "0",
        "exits": f"{born - 80}",
        "sunreclaim_kb": f"{15716 + kept // 5}",
        "percpu_kb": "568",
        "slab_cache_kb": f"{67.5 + kept / 8}",
        "run_delay_ns": f"{int(5e9 * busy)}",
        "timeslices": f"{int(1400 * busy)}",
        "context_switches": f"{int(2100 * busy)}",
        "cpu_busy_percent": f"{86 + noise:.1f}",
        "cpu_spread_percent": f"{2 + noise:.1f}",
        "load_cpu_s": f"{1.7 * busy:.6f}",
        "latency_p50_us": f"{19532 + noise:.4f}",
        "latency_p90_us": f"{133669 + noise:.4f}",
        "latency_p99_us": f"{180164 + noise:.4f}",
        "latency_max_us": f"{213497 + noise:.2f}",
        "latency_count": f"{2029 + int(400 * noise)}",
    }


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
            sampler.name: {**cost, "cpu_us": 1e3 * rng.random(), "wall_us": 1e3}
            for sampler in _samplers()
        },
        "run_queue_latency": {
            "from_us": edges[:-1],
            "to_us": edges[1:],
            "count": [rng.randrange(1, 4000) for _ in edges[1:]],
        },
    }
