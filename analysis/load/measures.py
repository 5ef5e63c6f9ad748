# SPDX-License-Identifier: GPL-2.0-only
"""What is measured of every run, in which unit, and how numbers are written.

A measure is a number derived from a run's samples; a workload's own metrics come
beside them with the name, unit and direction the workload gave them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from experiments import registry
from experiments.columns import Column, Kind, added, header

#: Written as escapes: in source they pass for x and -.
TIMES, DASH, MINUS = "\u00d7", "\u2013", "\u2212"

#: What the samplers declare, and the columns of a run's samples: those of a file that
#: they declare, absent where it does not have them.
DECLARED = registry.columns()
COLUMNS = header(DECLARED)

KEYS = ["scheduler", "workload", "variant", "run", "block"]
TIDY = [
    *KEYS,
    *("metric", "unit", "lower_is_better", "source", "value", "resolution"),
]


@dataclass(frozen=True)
class Measure:
    """A number per run: its column, label, unit, and which direction is good.

    ``lower_is_better`` is None for what is neither good nor bad in itself.
    """

    name: str
    label: str
    unit: str
    lower_is_better: bool | None


def per_s(column: Column) -> str:
    """Return the name of the measure that is the rate of a counter."""
    return f"{column.name}_per_s"


def _measure(column: Column) -> Measure:
    """Return the measure of a column that nothing else is known of."""
    if column.kind is Kind.COUNTER:
        return Measure(per_s(column), column.meaning, f"{column.unit or 1}/s", None)
    return Measure(column.name, column.meaning, column.unit, None)


#: In the order in which tables show them. A measure of a count has no unit suffix.
#: One that bears the name of a column is its last value, or its mean where each value
#: is of the time between two samples; with _per_s it is the rate of a counter.
MEASURES = (
    Measure("entries_max", "maximum", "entries", True),
    Measure("entries_mean", "mean", "entries", True),
    Measure("entries_final", "final", "entries", True),
    Measure("growth_entries_per_s", "growth", "entries/s", True),
    Measure("growth_entries_per_exit", "growth per exited task", "entries/exit", True),
    Measure("growth_entries_per_fork", "growth per fork", "entries/fork", True),
    Measure("tail_entries_per_s", "slope of last half", "entries/s", True),
    Measure("evictions", "evictions", "entries", None),
    Measure("insert_failures", "failed inserts", "inserts", True),
    Measure("forks_per_s", "forks", "forks/s", None),
    Measure("slab_bpf_kb", "BPF slab memory", "kB", True),
    Measure("map_memlock_kb", "map memory", "kB", True),
    Measure("scan_time_ms_per_s", "time in scans", "ms/s", True),
    Measure("mean_scan_us", "mean scan", "us", True),
    Measure("longest_scan_us", "longest scan", "us", True),
    Measure("scanned_per_us", "entries scanned per us of scan", "entries/us", False),
    Measure("scans_refused", "scans refused", "scans", None),
    Measure("false_evictions", "evicted alive", "entries", True),
    Measure("leaked", "leaked at the end", "entries", True),
    Measure("exits", "tasks exited", "tasks", None),
    Measure("memory_map_r", "memory with map entries", "Pearson r", None),
    Measure("slab_cache_kb", "cache of the elements", "kB", True),
    Measure("sunreclaim_kb", "slab of the machine", "kB", None),
    Measure("percpu_kb", "per-CPU memory of the machine", "kB", None),
    Measure("context_switches_per_s", "context switches", "1/s", None),
    Measure("wait_us_per_timeslice", "mean wait for a CPU", "us/timeslice", True),
    Measure("cpu_busy_percent", "CPUs busy", "%", None),
    Measure("cpu_spread_percent", "busiest less idlest CPU", "%", None),
    Measure("load_cpu_s", "CPU time of the workload", "s", None),
    *map(_measure, added(DECLARED)),
)

#: What the names of metrics begin with that a sampler yields, and not the workload.
OF_SAMPLERS = ("run_queue_latency_", "system_wait_", "wakeup_latency_")

_MEASURED = frozenset(m.name for m in MEASURES)

#: Measures set against control's. Evictions and scans are the treatment itself, and
#: `insert_failures` is part of the verdicts' sentences. Growth per fork is left out:
#: per exited task is the same question, asked of the number that decides it.
COMPARED = (
    "entries_max",
    "entries_mean",
    "entries_final",
    "growth_entries_per_s",
    "growth_entries_per_exit",
    "tail_entries_per_s",
    "forks_per_s",
    "slab_bpf_kb",
    "map_memlock_kb",
)


def number(value: float | None, digits: int = 3) -> str:
    """Return `value` to `digits` significant digits.

    Whole above 1000; a dash when missing.
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= digits or value == round(value):
        text = f"{value:,.0f}"
    elif size >= -3:
        text = f"{value:,.{digits - 1 - size}f}"
    else:
        text = f"{value:.{digits - 1}g}"
    return text.replace("-", MINUS, 1) if value < 0 else text


def quantity(value: float | None, unit: str) -> str:
    """Return a number with its unit: `1.25 s`, and `240/s` for the unit `1/s`."""
    return f"{number(value)}{unit[1:] if unit.startswith('1/') else f' {unit}'}".strip()


def span(low: float, high: float) -> str:
    """Return an interval, as exact as it takes to tell its ends apart."""
    for digits in range(3, 7):
        ends = number(low, digits), number(high, digits)
        if ends[0] != ends[1]:
            break
    return f"{ends[0]} to {ends[1]}"


def change(
    ratio: float, interval: tuple[float | None, float | None] = (None, None)
) -> str:
    """Return a ratio as a change in per cent: `+2.8`; to a tenth without an interval.

    With one, to at least two digits of its width, and so many that no end looks as if
    it were at no change, or at a whole per cent, that is not.
    """
    if not math.isfinite(ratio):
        return DASH
    ends = [100 * (v - 1) for v in interval if v is not None]
    width = max(ends) - min(ends) if ends else 0.0
    digits = min(max(1 - math.floor(math.log10(width)), 0), 4) if width > 0 else 1
    while digits < 6 and any(_looks_whole(end, digits) for end in ends):
        digits += 1
    text = f"{round(100 * (ratio - 1), digits) + 0.0:+,.{digits}f}"
    return text.replace("-", MINUS, 1)


def _looks_whole(end: float, digits: int) -> bool:
    """Return whether an end near no change or a margin is rounded onto it."""
    shown = round(end, digits)
    return abs(shown) <= 10 and shown == round(shown) and end != shown


def slug(text: str) -> str:
    """Return `text` as part of a file's name: ASCII letters, digits, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_") or "x"


def column(name: str, unit: str) -> str:
    """Return the summary's column of a workload metric: its name and unit.

    Neither is there twice.
    """
    spelt = unit.removeprefix("1").replace("/", " per ") if "/" in unit else unit
    spelt = spelt.replace("%", "percent").replace("µ", "u")
    stem = slug(name).replace("-", "_")
    suffix = slug(spelt).replace("-", "_") if unit else ""
    if suffix.startswith(stem):
        stem = suffix
    elif suffix and not stem.endswith(f"_{suffix}"):
        stem = f"{stem}_{suffix}"
    return f"workload_{stem}" if stem in _MEASURED else stem


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
