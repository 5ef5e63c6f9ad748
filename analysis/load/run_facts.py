# SPDX-License-Identifier: GPL-2.0-only
"""What a run's JSON says beside its metrics: latency histogram, cost of the sampling.

Every part is optional: older runs have none of them. A part in a form that is not
understood is left out and named; the run's samples are data all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True)
class Histogram:
    """Waits by their length: ``count`` in [from_us, to_us), empty buckets left out.

    Buckets are log-linear: four to an octave, of equal width within it.
    """

    from_us: tuple[float, ...]
    to_us: tuple[float, ...]
    count: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.from_us) == len(self.to_us) == len(self.count):
            raise ValueError("from_us, to_us and count differ in length")
        ends = zip(self.from_us, self.to_us, strict=True)
        if any(not 0 <= low < high for low, high in ends):
            raise ValueError("a bucket ends before it begins")
        if any(n < 0 for n in self.count):
            raise ValueError("a bucket counts below 0")


@dataclass(frozen=True)
class SamplerCost:
    """One sampler in one run: medians and the maximum of a single sample, in us."""

    samples: int
    cpu_us: float | None = None
    wall_us: float | None = None
    wall_us_max: float | None = None


@dataclass(frozen=True)
class Lateness:
    """How late the samples of a run began, in us."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class RunFacts:
    """CPU time in s: ``agent_cpu_s`` of the measuring process, ``load_cpu_s`` of the
    whole workload, which every run has, with whatever samplers.
    """

    run_queue_latency: Histogram | None = None
    sampling: Mapping[str, SamplerCost] = field(default_factory=dict)
    lateness_us: Lateness | None = None
    agent_cpu_s: float | None = None
    load_cpu_s: float | None = None


_PARTS: Mapping[str, TypeAdapter[Any]] = {
    "run_queue_latency": TypeAdapter(Histogram | None),
    "sampling": TypeAdapter(dict[str, SamplerCost]),
    "lateness_us": TypeAdapter(Lateness | None),
    "agent_cpu_s": TypeAdapter(float | None),
    "load_cpu_s": TypeAdapter(float | None),
}


def read(facts: Mapping[str, Any]) -> tuple[RunFacts, dict[str, str]]:
    """Return the facts that are understood, and for each that is not, why."""
    found: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, adapter in _PARTS.items():
        if name not in facts:
            continue
        try:
            found[name] = adapter.validate_python(facts[name])
        except ValidationError as error:
            wrong[name] = error.errors()[0]["msg"]
    return RunFacts(**found), wrong
