# SPDX-License-Identifier: GPL-2.0-only
"""What is measured of one run, from its samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.load.measures import COLUMNS, DECLARED, MEASURES, per_s
from analysis.stats.estimators import (
    Array,
    Interval,
    correlation,
    increase,
    largest,
    last,
    mean,
    rate,
    theil_sen,
    time_mean,
)
from experiments.columns import Kind

Columns = Mapping[str, Array]

#: A hash map counts as full from here on: per-CPU free lists keep some elements back.
FULL = 0.99

#: What is known of a run beside the MEASURES: intervals of growth (95 %, entries/s and
#: entries/exit) and of the last half (90 %, entries/s), how many entries the map can
#: hold (NaN when that is not known, or it has no limit), and when it was full (NaN when
#: it never was).
WITHIN = (
    *("growth_low", "growth_high", "growth_per_exit_low", "growth_per_exit_high"),
    *("tail_low", "tail_high", "map_limit", "full_at_s"),
)
_MEASURED = {m.name for m in MEASURES}
#: Columns that are measures themselves, by what makes one number of a run's samples.
_OWN = {
    column.name: mean if column.kind is Kind.INTERVAL else last
    for column in DECLARED
    if column.name in _MEASURED
}
#: measure -> the counter of which it is the rate
_RATES = {per_s(c): c.name for c in DECLARED if per_s(c) in _MEASURED}


def filling(entries: Array, max_entries: float) -> slice:
    """Return the samples until the map is full.

    After that, a slope measures its limit.
    """
    full = np.flatnonzero(entries >= FULL * max_entries)
    return slice(0, int(full[0]) + 1) if len(full) else slice(None)


def growth_per_exit(column: Columns, until: slice) -> Interval:
    """Return entries gained per task that exited, with its 95 % interval.

    A leak leaves one entry per exited task, however fast the workload is, so this
    is comparable where entries/s are not. Where the run did not record `exits` it
    is per fork: of short-lived tasks, nearly the same. NOTHING when nobody exited.
    """
    counted = np.isfinite(column["exits"]).any()
    tasks = column["exits" if counted else "forks"]
    return theil_sen(tasks[until], column["map_entries"][until])


def run_stats(
    samples: Columns | pd.DataFrame, max_entries: float = np.nan
) -> dict[str, float]:
    """Return every measure of one run, and the intervals within it.

    `samples`: the columns of one run, ordered by time; `max_entries`: of its map, NaN
    when not known. The keys are those of MEASURES and WITHIN.
    """
    column = {c: np.asarray(samples[c], dtype=float) for c in COLUMNS}
    span_s = float(np.ptp(column["timestamp"])) or np.nan
    return {
        **_growth(column, max_entries),
        **_of_columns(column, span_s),
        **_of_map(column),
        **_of_scans(column, span_s),
        "wait_us_per_timeslice": rate(
            column["run_delay_ns"] / 1e3, column["timeslices"]
        ),
    }


def _growth(column: Columns, max_entries: float) -> dict[str, float]:
    time_s, entries = column["timestamp"], column["map_entries"]
    until = filling(entries, max_entries)
    growth = theil_sen(time_s[until], entries[until])
    per_exit = growth_per_exit(column, until)
    per_fork = theil_sen(column["forks"][until], entries[until])
    tail = tail_slope(time_s, entries)
    return {
        "growth_entries_per_s": growth.estimate,
        "growth_low": growth.low,
        "growth_high": growth.high,
        "growth_entries_per_exit": per_exit.estimate,
        "growth_per_exit_low": per_exit.low,
        "growth_per_exit_high": per_exit.high,
        "growth_entries_per_fork": per_fork.estimate,
        "tail_entries_per_s": tail.estimate,
        "tail_low": tail.low,
        "tail_high": tail.high,
        "map_limit": max_entries,
        "full_at_s": np.nan if until.stop is None else float(time_s[until.stop - 1]),
    }


def _of_map(column: Columns) -> dict[str, float]:
    entries = column["map_entries"]
    return {
        "entries_max": largest(entries),
        "entries_mean": time_mean(column["timestamp"], entries),
        "entries_final": last(entries),
        "memory_map_r": correlation(entries, column["slab_bpf_kb"]),
    }


def _of_columns(column: Columns, span_s: float) -> dict[str, float]:
    rates = {name: increase(column[c]) / span_s for name, c in _RATES.items()}
    return {name: of(column[name]) for name, of in _OWN.items()} | rates


def _of_scans(column: Columns, span_s: float) -> dict[str, float]:
    return {
        "scan_time_ms_per_s": increase(column["scan_time_ns"]) / 1e6 / span_s,
        "mean_scan_us": rate(column["scan_time_ns"] / 1e3, column["scans"]),
        "longest_scan_us": last(column["longest_scan_ns"]) / 1e3,
        "scanned_per_us": rate(column["scanned"], column["scan_time_ns"] / 1e3),
    }


def tail_slope(time_s: Array, entries: Array) -> Interval:
    """Return the slope over the last half of the run's time with its 90 % interval."""
    tail = time_s >= (time_s[0] + time_s[-1]) / 2
    return theil_sen(time_s[tail], entries[tail], level=0.90)
