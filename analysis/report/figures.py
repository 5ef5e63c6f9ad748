# SPDX-License-Identifier: GPL-2.0-only
"""Which figures an experiment gets, and the finding each of them states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.compare.effect import BETTER, WORSE
from analysis.compare.noise import Noise
from analysis.compare.within_experiment import Comparison
from analysis.load import waits
from analysis.load.frames import EVICTION_RATE, Data
from analysis.load.measures import (
    KEYS,
    OF_SAMPLERS,
    TIMES,
    number,
    plural,
    quantity,
    slug,
)
from analysis.report import effect_figures, painting, sketch
from analysis.report.sketch import Drawn, Series, Sketch, Text
from experiments.model import CONTROL

#: File stem, axis label and noun of what is drawn over time, in this order.
_OVER_TIME = {
    "map_entries": ("entries", "map entries", "entries"),
    "evictions": ("evictions", "entries evicted since loading", "evictions"),
    "slab_bpf_kb": ("memory", "BPF slab memory (kB)", "kB of BPF slab"),
}
#: What fluctuates is told by its median, not by where it ends.
_FLUCTUATES = {
    EVICTION_RATE: (
        "eviction_rate",
        "entries evicted per second",
        "Evictions between two samples",
        "1/s",
    ),
    "latency_p99_us": (
        "latency_p99",
        "p99 run-queue latency (us)",
        "p99 of the wait between two samples",
        "us",
    ),
}

#: What figures show of the samples, beside a column, of the waits and of the metrics.
_LINES = ("variant", "run", "timestamp")
_BUCKETS = ("variant", "run", "from_us", "to_us", "count")
_POINTS = ("variant", "block", "name", "unit", "lower_is_better", "value")

#: Metrics of every workload that have a figure of their own.
_LATENCIES = OF_SAMPLERS
P99 = "run_queue_latency_p99"
#: Fewer runs have no order to see.
_FEWEST_IN_ORDER = 6


def draw_metrics(data: Data, comparisons: Sequence[Comparison]) -> list[Drawn]:
    """Draw the workload metrics alone.

    For a ledger: its samplers do nothing to the map.
    """
    pairs = data.runs[["scheduler", "workload"]].drop_duplicates()
    places = sorted((str(s), str(w)) for s, w in pairs.itertuples(index=False))
    found = [s for where in places for s in _metrics(data, where, comparisons)]
    return painting.draw(found, data.experiment.path)


def draw(
    data: Data, comparisons: Sequence[Comparison], noise: Noise | None = None
) -> list[Drawn]:
    """Return the figures of every scheduler x workload that has data."""
    found: list[Sketch] = []
    buckets = waits.histograms(data)
    keys = ["scheduler", "workload"]
    for (scheduler, workload), samples in data.curves.groupby(keys, sort=True):
        where = str(scheduler), str(workload)
        found += _over_time(data, where, samples)
        found += _fluctuating(data, where, samples)
        found += _latency(data, where, buckets)
        found += _metrics(data, where, comparisons)
        for figure in effect_figures.draw(data, where, comparisons, noise):
            found.append(_sketch(where, *figure))
    return painting.draw(found, data.experiment.path)


def _over_time(
    data: Data, where: tuple[str, str], samples: pd.DataFrame
) -> Iterator[Sketch]:
    for column, (stem, label, noun) in _OVER_TIME.items():
        there = samples.dropna(subset=[column])
        if there.empty or (column == "evictions" and not there[column].any()):
            continue
        series = _series(data, where, column, label)
        text = Text(_ends(there, column, noun), _basis(data, where, there))
        shown = sketch.rows(there, *_LINES, column)
        yield _sketch(where, stem, text, "over_time", (shown, series))


def _fluctuating(
    data: Data, where: tuple[str, str], samples: pd.DataFrame
) -> Iterator[Sketch]:
    for column, (stem, label, noun, unit) in _FLUCTUATES.items():
        there = samples.dropna(subset=[column])
        if not there[column].any():
            continue
        middle = there.groupby(["variant", "run"])[column].median()
        finding = _medians(middle.groupby("variant").median(), noun, unit)
        text = Text(finding, _basis(data, where, there))
        series = Series(column, label)
        shown = sketch.rows(there, *_LINES, column)
        yield _sketch(where, stem, text, "over_time", (shown, series))


def _latency(
    data: Data, where: tuple[str, str], buckets: pd.DataFrame
) -> Iterator[Sketch]:
    here = _at(buckets, where)
    if here.empty:
        return
    metrics = _at(data.metrics, where)
    p99 = metrics[metrics["name"] == P99].groupby("variant")["value"].median()
    counted = f"{number(float(here['count'].sum()))} waits for a CPU"
    finding = _medians(p99, "p99 of the wait for a CPU", "us") if len(p99) else counted
    legend = f"{counted}; thin line: a run, thick line: all runs"
    text = Text(finding, _basis(data, where, here, legend))
    shown = sketch.rows(here, *_BUCKETS)
    yield _sketch(where, "latency", text, "waits", (shown,))


def _at(frame: pd.DataFrame, where: tuple[str, str]) -> pd.DataFrame:
    return frame[(frame["scheduler"] == where[0]) & (frame["workload"] == where[1])]


def _medians(medians: pd.Series[float], noun: str, unit: str) -> str:
    """Return for example `p99 of the wait: control 3,021 us, test 690 us`."""
    order = sorted(map(str, medians.index), key=lambda v: (v != CONTROL, v))
    said = ", ".join(f"{v} {quantity(float(medians[v]), unit)}" for v in order)
    return f"{noun}: {said} (medians)"


def _metrics(
    data: Data, where: tuple[str, str], comparisons: Sequence[Comparison]
) -> Iterator[Sketch]:
    """Yield the workload's own metrics.

    In another figure, how long its threads waited.
    """
    drawn = data.runs.loc[data.runs["drawn"], KEYS]
    values = _at(data.metrics, where).merge(drawn, on=KEYS)
    is_wait = values["name"].str.startswith(_LATENCIES).astype(bool)
    found = [
        c
        for c in comparisons
        if c.source == "workload" and (c.scheduler, c.workload) == where
    ]
    yield from _in_order(data, where, values[~is_wait])
    for stem, part in (("metrics", values[~is_wait]), ("latencies", values[is_wait])):
        if part.empty:
            continue
        of = [c for c in found if c.metric in set(part["name"])]
        legend = "point: a run, lines join a block, bar: median"
        basis = _basis(data, where, part, legend)
        text = Text(_effect(of), basis)
        shown = sketch.rows(part, *_POINTS)
        yield _sketch(where, stem, text, "metrics", (shown,))


def _in_order(
    data: Data, where: tuple[str, str], values: pd.DataFrame
) -> Iterator[Sketch]:
    """Yield the primary metric by the order of the runs, where there are some."""
    first = values[values["name"] == values["name"].iloc[0]] if len(values) else values
    if len(first) < _FEWEST_IN_ORDER:
        return
    here = _at(data.runs, where)
    place = {
        key: i
        for i, key in enumerate(zip(here["variant"], here["run"], strict=True), 1)
    }
    keys = zip(first["variant"], first["run"], strict=True)
    shown = first.assign(place=[place[key] for key in keys])
    name = str(first["name"].iloc[0])
    text = Text(
        f"{name} in the order of the runs", _basis(data, where, first, "point: a run")
    )
    rows = sketch.rows(shown, "variant", "place", "name", "unit", "value")
    yield _sketch(where, "in_order", text, "in_order", (rows,))


def _sketch(
    where: tuple[str, str],
    stem: str,
    text: Text,
    painter: str,
    shown: tuple[object, ...],
) -> Sketch:
    name = f"{slug(where[0])}_{slug(where[1])}_{stem}"
    return Sketch(name, *where, text, painter, shown)


def _series(data: Data, where: tuple[str, str], column: str, label: str) -> Series:
    limits = _at(data.measured, where)["map_limit"].dropna().unique()
    if column != "map_entries" or len(limits) != 1:
        return Series(column, label)
    limit = float(limits[0])
    return Series(column, label, limit, f"max_entries = {number(limit)}")


def _ends(samples: pd.DataFrame, column: str, noun: str) -> str:
    """Return for example `control ends at 7,021 entries, test at 690`."""
    ends = samples.groupby(["variant", "run"])[column].last().groupby("variant")
    medians = ends.median().to_dict()
    order = sorted(medians, key=lambda v: (v != CONTROL, v))
    first, *rest = (f"{v} at {number(float(medians[v]))}" for v in order)
    said = ", ".join([f"{first} {noun}", *rest]).replace(" at ", " ends at ", 1)
    return said[0].upper() + said[1:]


def _basis(
    data: Data,
    where: tuple[str, str],
    rows: pd.DataFrame,
    legend: str = "thin line: a run, thick line: median",
) -> str:
    runs = rows[["variant", "run"]].drop_duplicates()["variant"].value_counts()
    order = sorted(runs.index, key=lambda v: (v != CONTROL, v))
    counts = ", ".join(plural(int(runs[v]), f"{v} run") for v in order)
    here = _at(data.runs, where)
    if left_out := int((here["used"] & ~here["drawn"]).sum()):
        counts += f", chosen by a hash, {number(left_out)} more not drawn"
    return f"{where[0]} {TIMES} {where[1]}; {counts}; {legend}"


def _effect(comparisons: Sequence[Comparison]) -> str:
    """Return the clearest effect on a workload metric, or that there is none."""
    if not comparisons:
        return "Workload metrics"
    if all(c.ci_low is None for c in comparisons):
        return f"Too few blocks to tell an effect on {_names(comparisons)}"
    clear = [c for c in comparisons if c.direction in (BETTER, WORSE)]
    if not clear:
        return f"No clear effect on {_names(comparisons)}"
    parts = [f"{c.variant}: {c.metric} {c.direction}, {_size(c)}" for c in clear[:2]]
    return "; ".join(parts)


def _names(comparisons: Sequence[Comparison]) -> str:
    return ", ".join(dict.fromkeys(c.metric for c in comparisons))


def _size(c: Comparison) -> str:
    if c.kind != "ratio":
        return c.in_words()
    if c.estimate is None or c.ci_low is None or c.ci_high is None:
        return c.in_words()
    low, middle, high = map(c.amount, (c.ci_low, c.estimate, c.ci_high))
    return f"{middle} ({low.removesuffix(' %')} to {high})"
