# SPDX-License-Identifier: GPL-2.0-only
"""When a watchdog puts the machine back, and how it outlives its runner.

That it does after SIGKILL is tested on a real kernel.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from experiments.machine import stale_state, tuning, watchdog
from experiments.machine.settings import CONSOLE
from experiments.machine.tuning import OF_RUN, Tuning
from tests.unit.machine.machine import PRINTK, Machine


class Dog:
    """In place of the process."""

    def __init__(self) -> None:
        self.heard = b""
        self.stdin = self

    def write(self, words: bytes) -> None:
        self.heard += words

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def wait(self, timeout_s: float) -> None: ...


@pytest.fixture
def started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[tuple[Dog, dict[str, Any]]]:
    seen: list[tuple[Dog, dict[str, Any]]] = []

    def start(argv: list[str], **how: Any) -> Dog:
        seen.append((Dog(), how))
        return seen[-1][0]

    monkeypatch.setattr(watchdog, "start", start)
    monkeypatch.setattr(watchdog, "LOG", tmp_path / "run/watchdog.log")
    return seen


def restored(words: bytes) -> list[str]:
    return watchdog.watch(io.BytesIO(words), lambda: ["restored"])


def test_a_runner_that_ends_in_order_is_left_alone(
    started: list[tuple[Dog, dict[str, Any]]],
) -> None:
    with watchdog.watching():
        pass
    assert restored(started[0][0].heard) == []


def test_a_runner_that_is_gone_without_a_word_is_cleaned_up_after(
    started: list[tuple[Dog, dict[str, Any]]],
) -> None:
    with pytest.raises(OSError, match="disk"), watchdog.watching():
        raise OSError("disk")
    assert restored(started[0][0].heard) == ["restored"]
    assert restored(b"") == ["restored"]


def test_it_outlives_the_runner_and_holds_nothing_of_it(
    started: list[tuple[Dog, dict[str, Any]]],
) -> None:
    with watchdog.watching():
        how = started[0][1]
    assert how["death_signal"] is None
    assert how["stdout"].name == how["stderr"].name == str(watchdog.LOG)


def test_it_restores_under_the_lock_what_is_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine")
    own = Tuning(machine.root, tmp_path / "run")
    monkeypatch.setattr(tuning, "Tuning", lambda: own)
    monkeypatch.setattr(stale_state, "clean", lambda: ["ended the agent 7"])
    own.apply(OF_RUN, [CONSOLE])
    with own.held():
        (words,) = watchdog._restore()
    assert "another experiment is running" in words
    assert machine.words(PRINTK) == ["1"], "it is that one's to restore"
    assert watchdog._restore()[0] == "ended the agent 7"
    assert machine.words(PRINTK) == ["4"]
