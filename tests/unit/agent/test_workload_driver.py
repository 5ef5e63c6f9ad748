# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.agent.sample_clock import Deadlines


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_samples_at_both_ends_and_between(clock: Clock) -> None:
    deadlines = Deadlines(duration_s=6, interval_s=2)
    taken = []
    while True:
        if (due := deadlines.due()) is not None:
            taken.append(due)
            continue
        if deadlines.over():
            break
        clock.now += deadlines.next_in_s()
    assert taken == pytest.approx([0, 2, 4, 6])
    assert deadlines.missed == 0


def test_lateness_does_not_add_up(clock: Clock) -> None:
    deadlines = Deadlines(duration_s=100, interval_s=1)
    for second in range(50):
        clock.now = 100.0 + second + 0.3
        assert deadlines.due() == pytest.approx(second + 0.3)
        assert deadlines.next_in_s() == pytest.approx(0.7)
    assert deadlines.missed == 0


def test_passed_deadlines_are_counted_not_made_up_for(clock: Clock) -> None:
    deadlines = Deadlines(duration_s=10, interval_s=1)
    assert deadlines.due() == 0
    clock.now += 3.5
    assert deadlines.due() == pytest.approx(3.5)
    assert deadlines.due() is None
    assert deadlines.missed == 2


@given(
    st.integers(1, 60),
    st.floats(0.05, 5),
    st.lists(st.floats(0, 3), max_size=40),
)
def test_never_more_samples_than_deadlines(
    duration: int, interval: float, steps: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        deadlines = Deadlines(duration, interval)
        taken = 0
        for step in steps:
            taken += deadlines.due() is not None
            assert deadlines.due() is None
            assert deadlines.next_in_s() >= 0
            clock.now += step
        assert taken + deadlines.missed <= int(duration / interval + 1e-9) + 1


def test_lateness_is_told_in_microseconds(clock: Clock) -> None:
    deadlines = Deadlines(duration_s=100, interval_s=1)
    for second in range(101):
        clock.now = 100.0 + second + (0.002 if second == 50 else 0.000_25)
        deadlines.due()
    late = deadlines.facts()["lateness_us"]
    assert late == {"p50": 250.0, "p99": 250.0, "max": 2000.0}
