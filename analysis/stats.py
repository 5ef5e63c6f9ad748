# SPDX-License-Identifier: GPL-2.0-only
"""Numbers per run and over runs: pure functions of arrays, by scipy.

Growth is a Theil-Sen slope (the median of the slopes between all pairs of samples), so
that a burst or a late sample does not decide it. Source of the interval within a run:
P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.load import Data
from analysis.measures import KEYS, MEASURES, TIDY
from experiments.model import CSV_COLUMNS

Array = npt.NDArray[np.float64]

#: A hash map counts as full from here on: per-CPU free lists keep some elements back.
FULL = 0.99


class Interval(NamedTuple):
    """An estimate and the ends of its interval; NaN ends when there is none."""

    estimate: float
    low: float
    high: float


class Summary(NamedTuple):
    """One quantity over runs; the interval is of the mean, None with fewer than 2."""

    n: int
    median: float
    minimum: float
    maximum: float
    mean: float
    ci: tuple[float, float] | None


NOTHING = Interval(np.nan, np.nan, np.nan)


def present(*arrays: Array) -> tuple[Array, ...]:
    """The arrays without the places at which any of them is NaN."""
    keep = np.logical_and.reduce([np.isfinite(a) for a in arrays])
    return tuple(a[keep] for a in arrays)


def theil_sen(x: Array, y: Array, level: float = 0.95) -> Interval:
    """The slope of `y` against `x` with its interval at `level`.

    NOTHING with fewer than 3 points, or when all are at the same `x`.
    """
    x, y = present(x, y)
    if len(x) < 3 or np.ptp(x) == 0:
        return NOTHING
    slope, _, low, high = stats.theilslopes(y, x, alpha=level)
    return Interval(float(slope), float(low), float(high))


def t_interval(values: Array, level: float = 0.95) -> Interval:
    """The mean of `values` with its Student t interval; NaN ends with fewer than 2."""
    (values,) = present(values)
    n = len(values)
    if n == 0:
        return NOTHING
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, np.nan, np.nan)
    # scipy's own t.interval() is NaN for equal values, where the interval is a point.
    sem = float(np.std(values, ddof=1)) / np.sqrt(n)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * sem
    return Interval(mean, mean - half, mean + half)


def summarise(values: Array) -> Summary:
    """`values` over runs, without those missing; NaN throughout when none is left."""
    (values,) = present(values)
    if len(values) == 0:
        return Summary(0, np.nan, np.nan, np.nan, np.nan, None)
    mean, low, high = t_interval(values)
    ci = (low, high) if len(values) > 1 else None
    low, middle, high = (float(f(values)) for f in (np.min, np.median, np.max))
    return Summary(len(values), middle, low, high, mean, ci)


def paired_ratio(control: Array, test: Array, level: float = 0.95) -> Interval:
    """test/control: the geometric mean over blocks, its t interval on the log scale.

    Both arrays have one positive value per block, in the same order.
    """
    return Interval(*np.exp(t_interval(np.log(test / control), level)).tolist())


def paired_difference(control: Array, test: Array, level: float = 0.95) -> Interval:
    """test - control: the mean over blocks with its t interval."""
    return t_interval(test - control, level)


def time_mean(time_s: Array, values: Array) -> float:
    """The mean over time of `values`, so that late samples do not weigh less."""
    time_s, values = present(time_s, values)
    if len(values) == 0:
        return np.nan
    if np.ptp(time_s) == 0:
        return float(np.mean(values))
    return float(np.trapezoid(values, time_s) / np.ptp(time_s))


def last(values: Array) -> float:
    """The last value that is there; NaN when none is."""
    (values,) = present(values)
    return float(values[-1]) if len(values) else np.nan


def largest(values: Array) -> float:
    (values,) = present(values)
    return float(np.max(values)) if len(values) else np.nan


def increase(values: Array) -> float:
    """From the first value that is there to the last."""
    (values,) = present(values)
    return float(values[-1] - values[0]) if len(values) > 1 else np.nan


def rate(values: Array, per: Array) -> float:
    """The last of `values` per the last of `per`; NaN where that is 0 or missing."""
    divisor = last(per)
    return last(values) / divisor if divisor > 0 else np.nan


def filling(entries: Array, max_entries: float) -> slice:
    """The samples until the map is full: after that, a slope measures its limit."""
    full = np.flatnonzero(entries >= FULL * max_entries)
    return slice(0, int(full[0]) + 1) if len(full) else slice(None)


def run_stats(samples: pd.DataFrame, max_entries: float = np.nan) -> dict[str, float]:
    """Every measure of one run, and the intervals within it.

    `samples`: the rows of one run, ordered by time; `max_entries`: of its map, NaN when
    not known. The keys are those of MEASURES, and growth_low/high (95 %), tail_low/high
    (90 %), both in entries/s, and full_at_s (NaN when the map never was full).
    """
    column = {c: samples[c].to_numpy(dtype=float) for c in CSV_COLUMNS}
    time_s, entries = column["timestamp"], column["map_entries"]
    until = filling(entries, max_entries)
    growth = theil_sen(time_s[until], entries[until])
    tail = tail_slope(time_s, entries)
    span_s = float(np.ptp(time_s)) or np.nan
    return {
        "entries_max": largest(entries),
        "entries_mean": time_mean(time_s, entries),
        "entries_final": last(entries),
        "growth_entries_per_s": growth.estimate,
        "growth_low": growth.low,
        "growth_high": growth.high,
        "growth_entries_per_fork": theil_sen(
            column["forks"][until], entries[until]
        ).estimate,
        "tail_entries_per_s": tail.estimate,
        "tail_low": tail.low,
        "tail_high": tail.high,
        "full_at_s": np.nan if until.stop is None else float(time_s[until.stop - 1]),
        "evictions": last(column["evictions"]),
        "insert_failures": last(column["insert_failures"]),
        "forks_per_s": increase(column["forks"]) / span_s,
        "slab_bpf_kb": last(column["slab_bpf_kb"]),
        "map_memlock_kb": last(column["map_memlock_kb"]),
        "scan_time_ms_per_s": increase(column["scan_time_ns"]) / 1e6 / span_s,
        "longest_scan_us": last(column["longest_scan_ns"]) / 1e3,
        "scanned_per_us": rate(column["scanned"], column["scan_time_ns"] / 1e3),
        "scans_refused": last(column["scans_refused"]),
        "false_evictions": last(column["false_evictions"]),
        "leaked": last(column["leaked"]),
    }


def tail_slope(time_s: Array, entries: Array) -> Interval:
    """The slope over the last half of the run's time with its 90 % interval."""
    tail = time_s >= (time_s[0] + time_s[-1]) / 2
    return theil_sen(time_s[tail], entries[tail], level=0.90)


def per_run(data: Data) -> pd.DataFrame:
    """One row per used run: KEYS and the values of run_stats()."""
    used = data.runs[data.runs["used"]]
    limits = used.set_index("run_id")["max_entries"].to_dict()
    by_key = dict(list(data.samples.groupby(KEYS, sort=False)))
    rows = []
    for row in used[[*KEYS, "run_id"]].to_dict("records"):
        key = tuple(row[k] for k in KEYS)
        values = run_stats(by_key[key], limits[row["run_id"]])
        rows.append({**dict(zip(KEYS, key, strict=True)), **values})
    return pd.DataFrame(rows, columns=[*KEYS, *_stat_names()])


def _stat_names() -> list[str]:
    extra = ["growth_low", "growth_high", "tail_low", "tail_high", "full_at_s"]
    return [m.name for m in MEASURES] + extra


def tidy(data: Data, runs: pd.DataFrame) -> pd.DataFrame:
    """Measures and workload metrics alike, one value a row (columns TIDY)."""
    parts = [
        runs[KEYS].assign(
            metric=m.name,
            unit=m.unit,
            lower_is_better=m.lower_is_better,
            source="samples",
            value=runs[m.name].astype(float),
        )
        for m in MEASURES
    ]
    workload = data.metrics.rename(columns={"name": "metric"})
    parts.append(workload.assign(source="workload")[TIDY])
    parts = [p for p in parts if not p.empty]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TIDY)


def median_curve(samples: pd.DataFrame, column: str) -> tuple[Array, Array]:
    """The median over runs of `column` at every time, in s, which all runs cover.

    Samples of different runs are not simultaneous, so each run is interpolated
    linearly to the times of the run with the most samples. Empty without data.
    """
    pairs = [
        present(r["timestamp"].to_numpy(float), r[column].to_numpy(float))
        for _, r in samples.groupby("run", sort=True)
    ]
    pairs = [p for p in pairs if len(p[0])]
    if not pairs:
        return np.empty(0), np.empty(0)
    grid = max(pairs, key=lambda p: len(p[0]))[0]
    shared = max(p[0][0] for p in pairs), min(p[0][-1] for p in pairs)
    # Clipped, not cut: a last sample that was a millisecond later than another's stays
    grid = np.unique(np.clip(grid, *shared))
    return grid, np.median([np.interp(grid, x, y) for x, y in pairs], axis=0)
