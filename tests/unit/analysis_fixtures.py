# SPDX-License-Identifier: GPL-2.0-only
"""Synthetic experiments with known truth, made through the real results API."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.columns import CSV_COLUMNS
from experiments.model import (
    Metric,
    Outcome,
    Plan,
    RunResult,
    RunSpec,
    Sample,
)
from experiments.store.experiment import Experiment

Rows = Sequence[Mapping[str, float]]
Shape = Callable[[np.ndarray, np.random.Generator], Mapping[str, np.ndarray]]

FORKS_PER_S = 240.0
MAX_ENTRIES = 16384


def times(duration_s: float = 30.0, interval_s: float = 2.0) -> np.ndarray:
    return np.arange(0.0, duration_s + interval_s / 2, interval_s)


def columns(
    t: np.ndarray,
    entries: np.ndarray,
    evictions: np.ndarray,
    **more: np.ndarray,
) -> dict[str, np.ndarray]:
    entries = np.round(np.maximum(entries, 0.0))
    return {
        "map_entries": entries,
        "free_mem_kb": np.full_like(t, 512_000.0),
        "slab_bpf_kb": np.round(900 + entries * 0.11),
        "evictions": np.round(evictions),
        "inserted": np.round(entries + evictions),
        "insert_failures": np.zeros_like(t),
        "map_memlock_kb": np.full_like(t, 1320.0),
        "forks": np.round(FORKS_PER_S * t),
        **more,
    }


def growing(slope: float = 235.0, noise: float = 15.0) -> Shape:
    """Entries that grow by `slope` a second; nothing is evicted."""

    def shape(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        entries = 60 + slope * t + rng.normal(0, noise, len(t))
        return columns(t, entries, np.zeros_like(t))

    return shape


def machine(shape: Shape, exits_per_s: float = 200.0) -> Shape:
    """`shape` with the columns of the machine, the workload and the latency."""

    def shaped(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        since = np.where(t > 0, 1.0, np.nan)  # nothing precedes the first sample
        values = dict(shape(t, rng))
        return values | {
            "exits": np.round(exits_per_s * t),
            "sunreclaim_kb": 30_000 + values["map_entries"] * 0.2,
            "percpu_kb": np.full_like(t, 4200.0),
            "slab_cache_kb": np.round(400 + values["map_entries"] * 0.128),
            "run_delay_ns": 5e6 * t,
            "timeslices": 100 * t,
            "context_switches": 300 * t,
            "cpu_busy_percent": 80 * since,
            "cpu_spread_percent": 12 * since,
            "load_cpu_s": 1.5 * t,
            "latency_p50_us": rng.normal(40, 2, len(t)) * since,
            "latency_p90_us": rng.normal(400, 20, len(t)) * since,
            "latency_p99_us": rng.normal(3000, 300, len(t)) * since,
            "latency_max_us": rng.normal(9000, 900, len(t)) * since,
            "latency_count": 5000 * since,
        }

    return shaped


def filling(slope: float = 2000.0, limit: int = MAX_ENTRIES) -> Shape:
    """Grows until the map is full; inserts fail from then on."""

    def shape(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        wanted = 60 + slope * t
        lost = np.maximum(wanted - limit, 0)
        return columns(
            t, np.minimum(wanted, limit), np.zeros_like(t), insert_failures=lost
        )

    return shape


def plateau(level: float = 700.0, noise: float = 25.0, drift: float = 0.0) -> Shape:
    """Rises to `level` within 4 s and stays, with a sawtooth and `drift` entries/s."""

    def shape(t: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        saw = 60 * ((t * 0.37 + rng.uniform()) % 1.0 - 0.5)
        entries = level * np.minimum(t / 4, 1) + 40 + saw * (t > 4) + drift * t
        entries = entries + rng.normal(0, noise, len(t)) * (t > 0)
        evictions = np.maximum(0, (t - 4) * 250)
        scans = np.floor(t)
        return columns(
            t,
            entries,
            evictions,
            scans=scans,
            scanned=scans * 16384,
            budget_hits=np.floor(scans / 5),
            longest_scan_ns=np.full_like(t, 183_000.0) * (t > 0),
            scan_time_ns=scans * 120_000,
        )

    return shape


def spec(
    scheduler: str = "scx_simple",
    variant: str = "control",
    workload: str = "hackbench",
    run: int = 1,
    block: int | None = None,
    duration_s: int = 30,
    max_entries: int | None = MAX_ENTRIES,
) -> RunSpec:
    cleanup = "none" if variant == "control" else variant.removeprefix("test-")
    return RunSpec(
        scheduler=scheduler,
        variant=variant,
        cleanup=cleanup,
        workload=workload,
        run=run,
        block=run if block is None else block,
        seed=7,
        duration_s=duration_s,
        sample_interval_s=2.0,
        workload_params={},
        knobs={} if max_entries is None else {"max_entries": max_entries},
    )


def arms(
    runs: int = 3,
    variants: Sequence[str] = ("control", "test"),
    workload: str = "hackbench",
    max_entries: int | None = MAX_ENTRIES,
) -> list[RunSpec]:
    return [
        spec(variant=v, workload=workload, run=n, max_entries=max_entries)
        for n in range(1, runs + 1)
        for v in variants
    ]


def rows(shape: Shape, spec: RunSpec, seed: int = 1) -> list[list[str]]:
    key = [*spec.label.encode(), seed]
    t = times(spec.duration_s, spec.sample_interval_s)
    named = shape(t, np.random.default_rng(key))
    return [
        Sample(float(t[i]), {k: float(v[i]) for k, v in named.items()}).row(CSV_COLUMNS)
        for i in range(len(t))
    ]


def csv_text(body: Sequence[Sequence[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in [CSV_COLUMNS, *body])


def forks_metric(spec: RunSpec) -> tuple[Metric, ...]:
    rate = np.random.default_rng([*spec.label.encode()]).normal(FORKS_PER_S, 4)
    return (Metric("forks", float(rate), "forks/s", lower_is_better=False),)


def histogram(waits_us: np.ndarray) -> dict[str, list[float]]:
    """The fact `run_queue_latency` of these waits: four buckets an octave."""
    octaves = 2.0 ** np.arange(0, 24)
    edges = np.unique(np.outer(octaves, [1, 1.25, 1.5, 1.75]))
    count, _ = np.histogram(waits_us, edges)
    there = np.flatnonzero(count)
    return {
        "from_us": edges[there].tolist(),
        "to_us": edges[there + 1].tolist(),
        "count": count[there].tolist(),
    }


def waits_us(spec: RunSpec, median_us: float = 40.0, n: int = 20_000) -> np.ndarray:
    """Waits as they are: most are short, some are a time slice of others long."""
    rng = np.random.default_rng([*spec.label.encode()])
    waits = rng.lognormal(np.log(median_us), 1.1, n)
    slices = rng.random(n) < 0.06
    return np.clip(np.where(slices, rng.normal(6000, 900, n), waits), 1, 1e6)


def latency(spec: RunSpec, median_us: float = 40.0) -> dict[str, object]:
    return {"run_queue_latency": histogram(waits_us(spec, median_us))}


def latency_metrics(spec: RunSpec, median_us: float = 40.0) -> tuple[Metric, ...]:
    waits = waits_us(spec, median_us)
    found = {f"p{q}": float(np.percentile(waits, q)) for q in (50, 90, 99)}
    found["max"] = float(waits.max())
    return tuple(
        Metric(f"run_queue_latency_{k}", round(v, 1), "us", lower_is_better=True)
        for k, v in found.items()
    )


#: What a run says of its own measuring.
MEASURING: Mapping[str, object] = {
    "sampling": {
        "bpf_map": {"samples": 16, "cpu_us": 210, "wall_us": 260, "wall_us_max": 900},
        "slab": {"samples": 16, "cpu_us": 80, "wall_us": 95.5, "wall_us_max": 400},
    },
    "lateness_us": {"p50": 120.0, "p99": 900.0, "max": 1500.0},
    "agent_cpu_s": 0.3,
}


@dataclass
class Lab:
    """An experiment in the making."""

    path: Path
    specs: Sequence[RunSpec]
    config: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    experiment: Experiment = field(init=False)

    def __post_init__(self) -> None:
        plan = Plan(seed=7, specs=tuple(self.specs))
        self.experiment = Experiment.create(self.path, plan, self.config, self.facts)

    def ok(
        self,
        spec: RunSpec,
        shape: Shape,
        metrics: Sequence[Metric] | None = None,
        dmesg: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        """Finish `spec` with the samples of `shape`."""
        self.ok_text(spec, csv_text(rows(shape, spec)), metrics, dmesg, facts)

    def ok_text(
        self,
        spec: RunSpec,
        text: str | bytes,
        metrics: Sequence[Metric] | None = None,
        dmesg: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        attempt = self.experiment.new_attempt(spec)
        data = text.encode() if isinstance(text, str) else text
        (attempt / "samples.csv").write_bytes(data)
        (attempt / "dmesg.log").write_text(dmesg)
        found = forks_metric(spec) if metrics is None else tuple(metrics)
        result = RunResult(
            spec, spec.run_id, Outcome.OK, metrics=found, facts=facts or {}
        )
        self.experiment.finish(result, attempt)

    def broken(
        self,
        spec: RunSpec,
        outcome: Outcome,
        reason: str = "",
        dmesg: str = "",
        dump: str = "",
    ) -> None:
        """Finish `spec` with an outcome other than OK."""
        attempt = self.experiment.new_attempt(spec)
        for name, text in (("dmesg.log", dmesg), ("dump.log", dump)):
            if text:
                (attempt / name).write_text(text)
        result = RunResult(spec, spec.run_id, outcome, reason)
        self.experiment.finish(result, attempt)

    def all_ok(self, shapes: Mapping[str, Shape]) -> Experiment:
        """Finish every run with the shape of its variant."""
        for each in self.specs:
            self.ok(each, shapes[each.variant])
        return self.experiment


def typical(path: Path, specs: Sequence[RunSpec] | None = None) -> Experiment:
    """Control grows, test levels off: the main finding."""
    lab = Lab(path, specs or arms())
    return lab.all_ok({"control": growing(), "test": plateau()})


#: What a manifest holds of the machine, as far as it decides what measuring costs.
MACHINE: Mapping[str, object] = {
    "kernel_sha256": "86a2",
    "accel": "tcg",
    "vm": {"cpus": 4, "memory_mb": 2048, "accel": "auto", "kernel": None},
    "host": {"cpu": "a CPU", "cpus": 2, "load_1min": 0.3},
}


def _samplers(variant: str) -> tuple[str, ...]:
    """Of a variant of a ledger."""
    sets = {
        "control": (),
        "default": ("slab", "latency"),
        "all": ("slab", "latency", "x"),
    }
    name = variant.removeprefix("test-")
    return sets.get(name, (name,))


def ledger(
    results: Path,
    name: str = "ledger-1",
    costs: Mapping[str, float] | None = None,
    facts: Mapping[str, object] = MACHINE,
    runs: int = 4,
) -> Experiment:
    """A ledger in which each sampler makes rounds longer by its factor in `costs`.

    Runs of one block share a drift that is larger than the effects.
    """
    costs = {"slab": 1.02, "latency": 1.0, "all": 1.05} if costs is None else costs
    variants = ["control", *(f"test-{sampler}" for sampler in costs)]
    specs = [s for w in ("hackbench", "stress-ng") for s in arms(runs, variants, w)]
    specs = [dataclasses.replace(s, samplers=_samplers(s.variant)) for s in specs]
    lab = Lab(results / name, specs, config={"treatment": "samplers"}, facts=facts)
    for each in lab.specs:
        factor = costs.get(each.variant.removeprefix("test-"), 1.0)
        noise = np.random.default_rng([*each.label.encode()]).normal(0, 0.002)
        round_s = 2 * 1.1**each.block * factor * (1 + noise)
        lab.ok(each, machine(growing()), [Metric("round", round_s, "s", True)])
    return lab.experiment


def replace_cell(text: str, line: int, name: str, cell: str) -> str:
    """`text` with one cell of a CSV changed; `line` counts from 0, the header."""
    table = list(csv.reader(text.splitlines()))
    table[line][CSV_COLUMNS.index(name)] = cell
    return "".join(",".join(row) + "\n" for row in table)
