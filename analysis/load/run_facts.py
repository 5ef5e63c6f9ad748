# SPDX-License-Identifier: GPL-2.0-only
"""What a run's JSON says beside its metrics: latency histogram, cost of the sampling.

Every part is optional: older runs have none of them. A part in a form that is not
understood is left out and named; the run's samples are data all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

#: What a file says may be any number; these are of things that can be counted.
_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Histogram:
    """Waits by their length: ``count`` in [from_us, to_us), empty buckets left out.

    Buckets are log-linear: four to an octave, of equal width within it.
    """

    from_us: tuple[_Finite, ...]
    to_us: tuple[_Finite, ...]
    count: tuple[_Count, ...]

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

    samples: _Count
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
class MapFacts:
    """A map of the scheduler, as far as it matters here."""

    type: str


@dataclass(frozen=True)
class RunFacts:
    """CPU time in s: ``agent_cpu_s`` of the measuring process, ``load_cpu_s`` of the
    whole workload, which every run has, with whatever samplers. ``map`` is the name of
    the map whose entries were counted, ``lost_attempts`` how many attempts at the run
    ended LOST before this one.
    """

    run_queue_latency: Histogram | None = None
    sampling: Mapping[str, SamplerCost] = field(default_factory=dict)
    lateness_us: Lateness | None = None
    agent_cpu_s: float | None = None
    load_cpu_s: float | None = None
    map: str | None = None
    map_max_entries: int | None = None
    maps: Mapping[str, MapFacts] = field(default_factory=dict)
    lost_attempts: int = 0
    flags: tuple[str, ...] = ()

    @property
    def map_limit(self) -> float | None:
        """The entries at which the map is full: NaN for one that never is.

        That is one that evicts by itself, and one without a limit of its own. None
        where the run did not record it.
        """
        if self.map_max_entries is None:
            return None
        watched = self.maps.get(self.map or "")
        evicts = watched is not None and watched.type.startswith("lru")
        return math.nan if evicts or self.map_max_entries <= 0 else self.map_max_entries


_PARTS: Mapping[str, TypeAdapter[Any]] = {
    "run_queue_latency": TypeAdapter(Histogram | None),
    "sampling": TypeAdapter(dict[str, SamplerCost]),
    "lateness_us": TypeAdapter(Lateness | None),
    "agent_cpu_s": TypeAdapter(float | None),
    "load_cpu_s": TypeAdapter(float | None),
    "map": TypeAdapter(str | None),
    "map_max_entries": TypeAdapter(_Count | None),
    "maps": TypeAdapter(dict[str, MapFacts]),
    "lost_attempts": TypeAdapter(_Count),
    "flags": TypeAdapter(tuple[str, ...]),
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
