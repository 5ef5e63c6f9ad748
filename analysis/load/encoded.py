# SPDX-License-Identifier: GPL-2.0-only
"""Records as bytes: what is kept of them, and what processes hand to each other.

What a record says in words is the same for nearly all runs of an experiment, so it is
kept once, as its Kind; what differs are numbers. Tens of thousands of runs are then one
array for each kind, and no object for each run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from analysis.load.records import (
    CURVE,
    NUMBERS,
    PlotData,
    RunRecord,
    SetAside,
    read_together,
)
from analysis.load.run_facts import Histogram, Lateness, SamplerCost
from analysis.stats.estimators import Array, Places
from experiments.model import RunSpec
from experiments.store.experiment import Experiment

#: The numbers of a sampler's cost and of the lateness, in their order.
COST = tuple(SamplerCost.__dataclass_fields__)
LATENESS = tuple(Lateness.__dataclass_fields__)


class MetricName(NamedTuple):
    """A metric without its value."""

    name: str
    unit: str
    lower_is_better: bool


@dataclass(frozen=True)
class Kind:
    """What a record says beside its numbers."""

    outcome: str
    reason: str = ""
    aside: tuple[SetAside, ...] = ()
    metrics: tuple[MetricName, ...] = ()
    samplers: tuple[str, ...] = ()
    has_lateness: bool = False
    has_agent: bool = False
    lost_attempts: int = 0


class Encoded(NamedTuple):
    """A Record; ``kind`` is the JSON of its Kind, ``numbers`` empty of what is no data.

    ``numbers`` are NUMBERS, the values of the metrics, their resolutions, COST of each
    sampler, and, if they are there, LATENESS and the CPU time of the agent.
    """

    kind: str
    numbers: bytes = b""
    curve: bytes | None = None
    histogram: bytes = b""
    is_lasting: bool = True

    @property
    def is_data(self) -> bool:
        return bool(self.numbers)


@dataclass(frozen=True)
class Block:
    """The runs of one kind that are data: ``places`` among all runs, a row for each."""

    kind: Kind
    places: Places
    measured: Array
    metrics: Array
    resolutions: Array
    costs: Array
    lateness: Array
    agent_cpu_s: Array


#: Runs that are read together, from how many on it pays to use every CPU, and how many
#: together a process takes at once.
_TOGETHER = 8
_MANY = 512
_AT_ONCE = 8

_KIND = TypeAdapter(Kind)
_HISTOGRAM = TypeAdapter(Histogram | None)


def read(
    experiment: Experiment, specs: Sequence[RunSpec], drawn: Collection[str]
) -> Iterator[Encoded]:
    """Yield the record of each run in `specs`, from its files.

    `drawn` are ids of runs.
    """
    chunks = [specs[i : i + _TOGETHER] for i in range(0, len(specs), _TOGETHER)]
    one = partial(_read_together, experiment, drawn)
    if len(specs) < _MANY:
        for chunk in chunks:
            yield from one(chunk)
        return
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for found in pool.map(one, chunks, chunksize=_AT_ONCE):
            yield from found


def _read_together(
    experiment: Experiment, drawn: Collection[str], specs: Sequence[RunSpec]
) -> list[Encoded]:
    return [encode(r) for r in read_together(experiment, drawn, specs)]


def encode(record: RunRecord) -> Encoded:
    said, facts = record.said, record.said.facts
    kind = Kind(
        outcome=said.outcome,
        reason=said.reason,
        aside=said.aside,
        metrics=tuple(
            MetricName(m.name, m.unit, m.lower_is_better) for m in said.metrics
        ),
        samplers=tuple(facts.sampling),
        has_lateness=facts.lateness_us is not None,
        has_agent=facts.agent_cpu_s is not None,
        lost_attempts=facts.lost_attempts,
    )
    words = _KIND.dump_json(kind).decode()
    if record.numbers is None:
        return Encoded(words, is_lasting=record.is_lasting)
    numbers = np.array([*record.numbers, *_more(record)], float).tobytes()
    if record.drawable is None:
        return Encoded(words, numbers, is_lasting=record.is_lasting)
    curve, waits = record.drawable.curve, record.drawable.histogram
    histogram = _HISTOGRAM.dump_json(waits)
    return Encoded(words, numbers, curve.tobytes(), histogram, record.is_lasting)


def _more(record: RunRecord) -> Iterator[float | None]:
    """Yield all numbers but NUMBERS; None becomes NaN."""
    facts = record.said.facts
    yield from (metric.value for metric in record.said.metrics)
    yield from (metric.resolution for metric in record.said.metrics)
    for cost in facts.sampling.values():
        yield from (getattr(cost, name) for name in COST)
    if facts.lateness_us is not None:
        yield from (getattr(facts.lateness_us, name) for name in LATENESS)
    if facts.agent_cpu_s is not None:
        yield facts.agent_cpu_s


@lru_cache(maxsize=1024)
def kind_of(words: str) -> Kind:
    return _KIND.validate_json(words)


def drawable(curve: bytes, histogram: bytes) -> PlotData:
    points = np.frombuffer(curve).reshape(-1, len(CURVE))
    return PlotData(points, _HISTOGRAM.validate_json(histogram))


def blocks(found: Sequence[Encoded]) -> Iterator[Block]:
    """Yield the numbers of all that is data, by kind."""
    places: dict[str, list[int]] = {}
    for i, record in enumerate(found):
        if record.is_data:
            places.setdefault(record.kind, []).append(i)
    for words, at in places.items():
        read = np.frombuffer(b"".join(found[i].numbers for i in at))
        yield _block(kind_of(words), np.array(at), read.reshape(len(at), -1))


def _block(kind: Kind, places: Places, numbers: Array) -> Block:
    widths = [
        len(NUMBERS),
        len(kind.metrics),
        len(kind.metrics),
        len(COST) * len(kind.samplers),
        len(LATENESS) * kind.has_lateness,
        int(kind.has_agent),
    ]
    return Block(kind, places, *np.split(numbers, np.cumsum(widths)[:-1], axis=1))
