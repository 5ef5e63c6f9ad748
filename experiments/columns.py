# SPDX-License-Identifier: GPL-2.0-only
"""The columns of a run's CSV file: what each of them is, and in which order they stand.

A column is declared by the sampler that fills it. Imported in the guest as well, so it
uses the standard library alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """Which time a number is of; it decides how a run's rows become one number."""

    GAUGE = "gauge"  # the moment of the sample
    COUNTER = "counter"  # adds up from the beginning
    PEAK = "peak"  # the largest one from the beginning
    INTERVAL = "interval"  # the time since the previous sample


@dataclass(frozen=True)
class Column:
    """``meaning`` is a few words, which head a table of the report as well.

    ``unit`` of a count is what is counted, in the plural.
    """

    name: str
    unit: str
    meaning: str
    kind: Kind


#: The columns that every CSV file has; the automation that this project replaces wrote
#: these alone.
REQUIRED = ("timestamp", "map_entries", "free_mem_kb", "slab_bpf_kb", "evictions")

#: The columns of schema 1, whichever samplers a run has: nothing in this order is ever
#: changed. Those of samplers that came later follow at the right, and are declared by
#: these samplers alone. timestamp is in seconds since the first sample. What could not
#: be read is an empty cell, never 0.
CSV_COLUMNS = (
    *REQUIRED,
    "inserted",
    "insert_failures",
    "scans",
    "scanned",
    "budget_hits",
    "longest_scan_ns",
    "scan_time_ns",
    "map_memlock_kb",
    "forks",
    "false_evictions",
    "leaked",
    "scans_refused",
    "exits",
    "sunreclaim_kb",
    "percpu_kb",
    "slab_cache_kb",
    "run_delay_ns",
    "timeslices",
    "context_switches",
    "cpu_busy_percent",
    "cpu_spread_percent",
    "load_cpu_s",
    "latency_p50_us",
    "latency_p90_us",
    "latency_p99_us",
    "latency_max_us",
    "latency_count",
)


def added(declared: Iterable[Column]) -> tuple[Column, ...]:
    """Return those of `declared` that schema 1 did not have, each of them once."""
    by_name = {c.name: c for c in declared if c.name not in CSV_COLUMNS}
    return tuple(by_name.values())


def header(declared: Iterable[Column]) -> tuple[str, ...]:
    """Return the names of all columns of a CSV file whose samplers declare these."""
    return (*CSV_COLUMNS, *(column.name for column in added(declared)))


def is_header(names: Sequence[str]) -> bool:
    """Return whether a CSV file of some version begins with these names.

    Those of older versions end earlier, and samplers may have been added that are not
    known here.
    """
    known = tuple(names[: len(CSV_COLUMNS)])
    return len(known) >= len(REQUIRED) and known == CSV_COLUMNS[: len(known)]
