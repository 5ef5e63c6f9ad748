# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import itertools
import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from experiments.samplers import sched_latency
from experiments.samplers._histogram import bounds, highest, quantile


def bucket_of(value: int) -> int:
    """As schedlat.bpf.c counts it."""
    value = max(value, 4)
    octave = value.bit_length() - 1
    return 4 * octave + ((value >> (octave - 2)) & 3)


@given(st.integers(min_value=4, max_value=(1 << 40) - 1))
def test_a_value_lies_within_the_bounds_of_its_bucket(value: int) -> None:
    low, high = bounds(bucket_of(value))
    assert low <= value < high
    assert high <= 1.25 * low


def test_buckets_have_no_gaps() -> None:
    edges = [bounds(n) for n in range(8, 160)]
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))


@given(st.lists(st.integers(min_value=4, max_value=1 << 39), min_size=1, max_size=200))
def test_quantiles_are_those_of_the_values_to_a_quarter(values: list[int]) -> None:
    counts = [0] * 160
    for value in values:
        counts[bucket_of(value)] += 1
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = sorted(values)[math.ceil(share * len(values)) - 1]
        found = quantile(counts, share)
        assert found is not None
        assert exact / 1.25 <= found <= exact * 1.25
    assert max(values) <= (highest(counts) or 0) <= 1.25 * max(values) + 1


def test_nothing_counted_is_no_quantile() -> None:
    assert quantile([0] * 160, 0.5) is None
    assert highest([0] * 160) is None


def cpu_histogram(max_ns: int, system_max_ns: int = 0, **buckets: int) -> bytes:
    counts = [0] * 160
    for name, count in buckets.items():
        counts[int(name[1:])] = count
    words = [sum(counts), 0, max_ns, system_max_ns, *counts]
    return b"".join(word.to_bytes(8, "little") for word in words)


def test_the_cpus_are_added_up_and_the_longest_is_of_any() -> None:
    raw = cpu_histogram(900, 5, b20=3, b39=1) + cpu_histogram(100, 70, b20=2)
    waits = sched_latency.added_up(raw)
    assert (waits.max_ns, waits.system_max_ns) == (900, 70)
    assert waits.buckets[20] == 5
    assert sum(waits.buckets) == 6
    before = sched_latency.added_up(cpu_histogram(100, b20=2))
    assert sum(waits.since(before)) == 4


def wait(since_ns: int, of_workload: bool) -> bytes:
    return struct.pack("=QII", since_ns, 4711, of_workload)


def test_waits_that_go_on_count_as_long_as_they_are() -> None:
    slots = [wait(0, True), wait(600, True), wait(700, True), wait(900, False)]
    assert sched_latency.longest_open(b"".join(slots), 1000, 0) == (400, 100)


def test_waits_count_from_the_beginning_of_the_run() -> None:
    slots = wait(5, True) + wait(100, False)
    assert sched_latency.longest_open(slots, 1000, 800) == (200, 200)


def test_nobody_waits() -> None:
    assert sched_latency.longest_open(wait(0, True) * 3, 1000, 0) == (0, 0)
