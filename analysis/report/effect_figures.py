# SPDX-License-Identifier: GPL-2.0-only
"""Which figures of effects a scheduler and a workload get, and what each finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from analysis.compare.effect import BETTER, WORSE
from analysis.compare.noise import Noise
from analysis.compare.within_experiment import Comparison
from analysis.load.frames import Data
from analysis.load.measures import TIMES, number, plural, quantity
from analysis.load.variants import labels, variants
from analysis.report.sketch import Text, rows
from experiments.model import NO_CLEANUP

#: Measures that are set beside the workload's own metrics; rows of a forest plot.
_MEASURES = ("entries_final",)
_MOST_ROWS = 30

Where = tuple[str, str]
#: (stem of the file, words, painter, what it shows)
Figure = tuple[str, Text, str, tuple[object, ...]]


def draw(
    data: Data, where: Where, comparisons: Sequence[Comparison], noise: Noise | None
) -> Iterator[Figure]:
    here = [c for c in comparisons if (c.scheduler, c.workload) == where]
    yield from _effects(where, here, noise, labels(data.manifest))
    samples = data.curves
    samples = samples[
        (samples["scheduler"] == where[0]) & (samples["workload"] == where[1])
    ]
    yield from _scans(data, where)
    yield from _sweep(data, where, samples)


def _effects(
    where: Where,
    found: Sequence[Comparison],
    noise: Noise | None,
    names: Mapping[str, str],
) -> Iterator[Figure]:
    there = [
        c
        for c in found
        if (c.source == "workload" or c.metric in _MEASURES)
        and c.kind == "ratio"
        and c.estimate
        and c.ci_low is not None
    ]
    if not there:
        return
    shown = sorted(there, key=lambda c: -abs(math.log(c.estimate or 1)))[:_MOST_ROWS]
    sizes = _noise_of(where, noise)
    basis = f"{where[0]} {TIMES} {where[1]}; {plural(shown[0].n_blocks, 'block')}"
    if len(shown) < len(there):
        basis += f"; the {len(shown)} largest of {len(there)}"
    if noise is not None and sizes:
        basis += f"; noise of {noise.name}"
    text = Text(_clearest(shown), basis)
    yield "effects", text, "effects", (shown, sizes, names)


def _noise_of(where: Where, noise: Noise | None) -> dict[str, float]:
    if noise is None:
        return {}
    table = noise.table[noise.table["workload"] == where[1]]
    return {
        str(metric): float(sd) / 100
        for metric, sd in zip(table["metric"], table["sd_percent"], strict=True)
        if math.isfinite(float(sd))
    }


def _clearest(shown: Sequence[Comparison]) -> str:
    counts = {word: sum(c.direction == word for c in shown) for word in (BETTER, WORSE)}
    said = " and ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f"Of {plural(len(shown), 'effect')}, {said or 'none'}" + (
        "" if said else " is clear"
    )


def _scans(data: Data, where: Where) -> Iterator[Figure]:
    measured = data.measured
    measured = measured[
        (measured["scheduler"] == where[0]) & (measured["workload"] == where[1])
    ]
    measured = measured.dropna(subset=["mean_scan_us"])
    budgets = {
        s.variant: float(s.knobs["budget_us"])
        for s in data.manifest.specs
        if (s.scheduler, s.workload) == where and "budget_us" in s.knobs
    }
    values = pd.DataFrame(
        {
            "variant": measured["variant"],
            "mean_us": measured["mean_scan_us"],
            "longest_us": measured["longest_scan_us"],
            "budget_us": measured["variant"].map(budgets),
        }
    ).dropna()
    if values.empty:
        return
    medians = values.groupby("variant")["longest_us"].median()
    names = labels(data.manifest)
    said = ", ".join(
        f"{names[str(v)]} {quantity(float(us), 'us')}" for v, us in medians.items()
    )
    drawn = data.runs.loc[data.runs["drawn"], "block"]
    shown = values[measured.loc[values.index, "block"].isin(drawn)]
    of = f" of {number(len(values))}" if len(shown) < len(values) else ""
    runs = f"a point and a bar: a run, {plural(len(shown), 'run')}{of}"
    basis = f"{where[0]} {TIMES} {where[1]}; {runs}"
    text = Text(f"Longest scan, medians: {said}", basis)
    yield "scans", text, "scans", (rows(shown, *shown.columns), names)


def _sweep(data: Data, where: Where, samples: pd.DataFrame) -> Iterator[Figure]:
    """Yield the grid of a sweep of one or two settings; more have none."""
    swept = data.manifest.config.get("sweep") or {}
    samples = samples.dropna(subset=["map_entries"])
    if not 1 <= len(swept) <= 2 or samples.empty:
        return
    there = set(map(str, samples["variant"]))
    places = {v: p for v, p in _places(data, swept).items() if v in there}
    if not places:
        return
    of_runs = samples.groupby(["variant", "run"])["map_entries"].last()
    final = of_runs.groupby("variant").median()
    ends = {str(v): float(n) for v, n in final.items() if str(v) in places}
    names = labels(data.manifest)
    low, high = min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)
    finding = (
        f"Final entries from {number(ends[low])} ({names[low]}) "
        f"to {number(ends[high])} ({names[high]})"
    )
    basis = f"{where[0]} {TIMES} {where[1]}; orange: control; thick: median over runs"
    text = Text(finding, basis)
    seen = rows(samples, "variant", "run", "timestamp", "map_entries")
    yield "sweep", text, "grid", (seen, places)


def _places(
    data: Data, swept: Mapping[str, Sequence[object]]
) -> dict[str, tuple[str, str]]:
    """Return the labels of each variant's row and column, in the order of the values.

    None where there are several strategies: a cell of the grid has one variant.
    """
    tests = [v for v in variants(data.manifest).values() if v.cleanup != NO_CLEANUP]
    if len({v.cleanup for v in tests}) != 1:
        return {}
    found = [
        v for v in tests if all(v.knobs.get(k) in values for k, values in swept.items())
    ]
    found.sort(key=lambda v: [of.index(v.knobs[k]) for k, of in swept.items()])
    cells = {v.name: [f"{k} {v.knobs[k]}" for k in swept] for v in found}
    return {name: (cell[0], "".join(cell[1:])) for name, cell in cells.items()}
