# SPDX-License-Identifier: GPL-2.0-only
"""From single measurements to rows and ratios."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from experiments.bench import sampling, sampling_probe
from experiments.bench.sampling_probe import DUMP_AND_GREP, SAMPLE, WOKEN_SAMPLE
from experiments.errors import MissingRequirement, RunFailed
from experiments.kernel import bpf

PEERS_US = {16_384: 200_000.0, 100_000: 1_200_000.0, 1_000_000: 12_000_000.0}


def said() -> Iterator[dict[str, Any]]:
    """Five rounds; a whole sample costs 100 us, and 110 with a million entries."""
    yield {"samplers": ["bpf-map"]}
    for number in range(5):
        for entries, peers_us in PEERS_US.items():
            us = {DUMP_AND_GREP: peers_us, SAMPLE: 100.0, WOKEN_SAMPLE: 160.0}
            us[SAMPLE] += 10 * (entries == 1_000_000)
            for method, cpu_us in us.items():
                cpu_us += number - 2
                wall_us = 2 * cpu_us
                yield {
                    **{"method": method, "entries": entries},
                    **{"cpu_us": cpu_us, "wall_us": wall_us},
                }
    yield {
        **{"policy": "SCHED_FIFO 1", "late_us": [float(n) for n in range(200, 0, -1)]},
        **{"missed": 3, "cpu_percent": 0.12345},
    }


def test_rows_are_medians_and_quartiles() -> None:
    rows = sampling.costs(said())
    assert len(rows) == 9
    assert [row["entries"] for row in rows[::3]] == list(PEERS_US)
    row = next(r for r in rows if r["method"] == SAMPLE)
    assert row == {
        **{"method": SAMPLE, "entries": 16_384, "n": 5},
        **{"cpu_us": 100.0, "cpu_us_low": 99.0, "cpu_us_high": 101.0},
        **{"wall_us": 200.0, "wall_us_low": 198.0, "wall_us_high": 202.0},
        "ratio": 2000.0,
    }
    assert all(r["ratio"] == 1 for r in rows if r["method"] == DUMP_AND_GREP)


def test_ratios_are_numbers_beside_their_goals() -> None:
    found = sampling.ratios(sampling.costs(said()))
    assert [row["measured"] for row in found] == [2000.0, 1.1, 1250.0, 1.0]
    assert {row["goal"] for row in found} == {"at least 1000", "at most 1.5"}


def test_no_ratio_without_its_rows() -> None:
    rows = sampling.costs(s for s in said() if s.get("entries") != 16_384)
    assert sampling.ratios(rows) == []
    rows = sampling.costs(s for s in said() if s.get("method") == SAMPLE)
    assert {row["ratio"] for row in rows} == {None}


def test_lateness() -> None:
    assert sampling.latenesses(said()) == [
        {
            **{"method": "lateness at SCHED_FIFO 1", "entries": None, "n": 200},
            **{"late_p50_us": 100.0, "late_p99_us": 198.0, "late_max_us": 200.0},
            **{"missed_deadlines": 3, "cpu_percent": 0.123},
        }
    ]


def test_where_bpf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(command: int, attr: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(bpf, "call", call)
    with pytest.raises(MissingRequirement, match=r"not permitted.*CAP_BPF") as caught:
        sampling.require_bpf()
    assert caught.value.exit_code == 4


def test_a_wrong_count_is_no_measurement() -> None:
    subject = sampling_probe.Subject(16_384, {"way": lambda: 0}, [])
    with pytest.raises(RunFailed, match="way counts 0 of 16384"):
        sampling_probe.measure(subject, "way", 1)


def test_quick_ways_are_repeated() -> None:
    assert sampling_probe.repeats_for(lambda: 1) == 1000


class LateClock:
    """A clock that stands still but for what is slept, and one long sample."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds + 0.001  # wakes 1 ms late


def test_lateness_is_that_of_the_first_deadline_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, lines = LateClock(), list[dict[str, Any]]()
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    monkeypatch.setattr("time.sleep", clock.sleep)
    monkeypatch.setattr(sampling_probe, "LATENESS_S", 1.0)
    monkeypatch.setattr(sampling_probe, "say", lambda **line: lines.append(line))
    durations = iter([0.0, 0.0, 0.35, *[0.0] * 20])

    def sample() -> None:
        clock.now += next(durations)

    sampling_probe.lateness("SCHED_OTHER", sample)
    (line,) = lines
    late_ms = [round(us / 1000) for us in line["late_us"]]
    # The third sample, at 201 ms, lasts until 551; those due at 300, 400, 500 are one
    assert late_ms == [0, 1, 1, 252, 1, 1, 1, 1]
    assert line["missed"] == 2
