# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import io
import subprocess
import time
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.agent.sample_clock import Deadlines
from experiments.agent.workload_driver import RunEnded, _Rounds
from experiments.model import Outcome, Round


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


def rounds_that_print(*sizes: int) -> tuple[list[Round], str]:
    """Return the rounds that such processes are, and why they came to an end."""
    done: list[Round] = []
    log = io.BytesIO()
    rounds = _Rounds("load", lambda output: ended, cast(io.BufferedWriter, log), done)
    ended = cast("subprocess.Popen[bytes]", SimpleNamespace(wait=lambda: 0))
    try:
        for size in sizes:
            rounds._output.seek(0)
            rounds._output.truncate(size)
            rounds._finish(ended)
    except RunEnded as error:
        assert error.outcome is Outcome.FAILED
        return done, str(error)
    finally:
        rounds.close()
    return done, ""


def test_what_a_workload_prints_has_an_end() -> None:
    mb = 1 << 20
    done, words = rounds_that_print(mb, 30 * mb, mb)
    assert [len(r.output) for r in done] == [mb, 30 * mb, mb]
    assert words == ""
    done, words = rounds_that_print(mb, 31 * mb, 1)
    assert len(done) == 2
    assert words == "load printed more than 32 MB in all"
