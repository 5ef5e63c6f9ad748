# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of a run: its numbers, what it says of itself, and a curve to draw.

A run's samples are held only while its record is made, so an experiment may have any
number of runs. Only OK runs whose CSV file is sound are data; what is corrupt is named
and set aside.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.load import run_facts
from analysis.load.measures import COLUMNS, MEASURES
from analysis.load.run_facts import Histogram, RunFacts
from analysis.load.run_measures import WITHIN, run_stats
from analysis.load.samples_csv import check_span, least_span, read_many
from analysis.stats.estimators import Array, evenly
from experiments.errors import FormatError
from experiments.model import Metric, RunResult, RunSpec
from experiments.store.experiment import Experiment

PENDING = "PENDING"
UNREADABLE = "UNREADABLE"

#: The names of a record's numbers, in their order.
NUMBERS = (*(m.name for m in MEASURES), *WITHIN)
#: The columns of a record's curve, and how many points it has at most.
CURVE = ("timestamp", "map_entries", "slab_bpf_kb", "evictions", "latency_p99_us")
CURVE_POINTS = 100


@dataclass(frozen=True)
class SetAside:
    """A file that is not data, relative to the experiment, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class RunMeta:
    """How a run ended and what its JSON says; ``facts`` are without the histogram."""

    outcome: str
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    facts: RunFacts = field(default_factory=RunFacts)
    aside: tuple[SetAside, ...] = ()


@dataclass(frozen=True)
class PlotData:
    """What figures show of a single run: rows of CURVE, and its waits for a CPU."""

    curve: Array
    histogram: Histogram | None = None


@dataclass(frozen=True)
class RunRecord:
    """``numbers`` (NUMBERS) are None of a run that is no data, ``drawable`` also of
    one that is not to be drawn.

    ``is_lasting`` is False when the files could not be read at this time.
    """

    said: RunMeta
    numbers: Array | None = None
    drawable: PlotData | None = None
    is_lasting: bool = True


def read_together(
    experiment: Experiment, drawn: Collection[str], specs: Sequence[RunSpec]
) -> list[RunRecord]:
    """Return the record of each run in `specs`, from its files.

    `drawn` are ids of runs.

    Of a few runs: their CSV files are in memory at the same time.
    """
    results = [_result(experiment, spec) for spec in specs]
    files = [_csv(experiment, result) for result in results]
    rows = iter(read_many([file for file in files if isinstance(file, bytes)]))
    return [
        result
        if isinstance(result, RunRecord)
        else _record(result, next(rows) if isinstance(file, bytes) else file, drawn)
        for result, file in zip(results, files, strict=True)
    ]


def _result(experiment: Experiment, spec: RunSpec) -> RunResult | RunRecord:
    try:
        result = experiment.result(spec)
        if result is not None and result.run_id != spec.run_id:
            raise FormatError(f"belongs to another run ({result.run_id})")
    except (FormatError, OSError) as error:
        path = experiment.files(spec).json
        reason = str(error).removeprefix(f"{path}: ")
        said = RunMeta(
            UNREADABLE, reason, aside=(SetAside(f"{spec.label}.json", reason),)
        )
        return RunRecord(said, is_lasting=isinstance(error, FormatError))
    return RunRecord(RunMeta(PENDING), is_lasting=False) if result is None else result


def _csv(
    experiment: Experiment, result: RunResult | RunRecord
) -> bytes | OSError | None:
    """Return the bytes of the CSV, or why there are none.

    None of a run that is no data.
    """
    if isinstance(result, RunRecord) or not result.outcome.is_data:
        return None
    try:
        return experiment.files(result.spec).csv.read_bytes()
    except OSError as error:
        return error


def _record(
    result: RunResult,
    rows: Array | FormatError | OSError | None,
    drawn: Collection[str],
) -> RunRecord:
    """Return the record of a run that ended; `rows` is None unless it was OK."""
    lost = run_facts.read(result.facts)[0].lost_attempts
    facts = RunFacts(lost_attempts=lost)
    said = RunMeta(result.outcome.value, result.reason, facts=facts)
    if rows is None:
        return RunRecord(said)
    try:
        if isinstance(rows, Exception):
            raise rows
        check_span(rows, result.spec)
    except FileNotFoundError:
        reason = "the file is missing"
    except (FormatError, OSError) as error:
        reason = str(error)
    else:
        return _sound(result, rows, result.run_id in drawn)
    aside = SetAside(f"{result.spec.label}.csv", reason)
    said = replace(said, aside=(aside,))
    return RunRecord(said, is_lasting=not isinstance(rows, OSError))


def _sound(result: RunResult, rows: Array, is_drawn: bool) -> RunRecord:
    facts, wrong = run_facts.read(result.facts)
    where = f"{result.spec.label}.json"
    rows, flags = _until_counted(result.spec, rows, facts.flags)
    said = RunMeta(
        outcome=result.outcome.value,
        reason="; ".join(f"flagged: {flag}" for flag in flags),
        metrics=result.metrics,
        facts=replace(facts, run_queue_latency=None),
        aside=tuple(SetAside(f"{where}: {k}", why) for k, why in wrong.items()),
    )
    drawable = _drawable(rows, facts) if is_drawn else None
    return RunRecord(said, _numbers(result.spec, rows, facts), drawable)


def _drawable(rows: Array, facts: RunFacts) -> PlotData:
    thin = rows[evenly(len(rows), CURVE_POINTS)]
    curve = np.ascontiguousarray(thin[:, [COLUMNS.index(c) for c in CURVE]])
    return PlotData(curve, facts.run_queue_latency)


def _numbers(spec: RunSpec, rows: Array, facts: RunFacts) -> Array:
    columns = dict(zip(COLUMNS, rows.T, strict=True))
    limit = facts.map_limit
    values = run_stats(columns, max_entries(spec) if limit is None else limit)
    # A run without the sampler of that column has the whole of it all the same
    if facts.load_cpu_s is not None:
        values["load_cpu_s"] = facts.load_cpu_s
    return np.array([values[name] for name in NUMBERS])


def max_entries(spec: RunSpec) -> float:
    """Return the most entries a run's map was built for; NaN where nobody said."""
    limit = spec.knobs.get("max_entries")
    return float(limit) if isinstance(limit, int | float) else np.nan


def _until_counted(
    spec: RunSpec, rows: Array, own: Sequence[str]
) -> tuple[Array, list[str]]:
    """Return the samples, and the checks that an OK run failed.

    Where the entries of the map were not counted until nearly the end, none of them are
    left: what they did in the rest of the run is not known.
    """
    flags = list(own)
    column = COLUMNS.index("map_entries")
    counted = np.flatnonzero(np.isfinite(rows[:, column]))
    if not len(counted):
        return rows, flags
    until = float(rows[counted[-1], 0])
    if until >= least_span(spec):
        return rows, flags
    flags.append(
        f"the map's entries were counted for {until:.1f} s of "
        f"{spec.duration_s:g} s: they are not compared"
    )
    rows = rows.copy()
    rows[:, column] = np.nan
    return rows, flags
