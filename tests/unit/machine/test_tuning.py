# SPDX-License-Identifier: GPL-2.0-only
"""What is changed is put back, exactly, whoever dies in between."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import ConfigError, MissingRequirement
from experiments.machine import tuning
from experiments.machine.settings import ASLR as ASLR_SETTING
from experiments.machine.settings import (
    CONSOLE,
    GOVERNOR,
    MEMORY,
    OF_RUNS,
    PIDS,
    SHOWN,
)
from experiments.machine.tuning import OF_RUN, TUNED, SettingChange, Tuning
from tests.unit.machine.machine import ASLR, POLICIES, PRINTK, SUBTREE, Machine

EVERY = (*POLICIES, PRINTK, ASLR)
BEFORE = ["powersave", "powersave", "4", "2"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "run/settings.json"


def tuned(machine: Machine, state: Path) -> Tuning:
    """Anew each time, as another process would."""
    return Tuning(machine.root, state.parent)


def test_a_run_sets_its_settings_and_puts_them_back(
    machine: Machine, state: Path
) -> None:
    assert tuned(machine, state).apply(OF_RUN, OF_RUNS) == []
    assert machine.words(*EVERY) == ["performance", "performance", "1", "2"]
    said = tuned(machine, state).restore(OF_RUN)
    assert machine.words(*EVERY) == BEFORE
    assert len(said) == 3
    assert not state.exists()


def test_what_was_there_is_written_down_before_anything_is_changed(
    machine: Machine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(change: SettingChange) -> str:
        assert json.loads(state.read_text())["run"][0]["was"] == "powersave"
        raise KeyboardInterrupt

    monkeypatch.setattr(SettingChange, "apply", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(machine, state).apply(OF_RUN, OF_RUNS)
    assert tuned(machine, state).restore(OF_RUN) == [], "nothing had been changed yet"
    assert machine.words(*EVERY) == BEFORE


def test_killed_between_two_changes(
    machine: Machine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SettingChange.apply

    def killed(change: SettingChange) -> str:
        if change.path.endswith(POLICIES[1]):
            raise KeyboardInterrupt
        return done(change)

    monkeypatch.setattr(SettingChange, "apply", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(machine, state).apply(OF_RUN, OF_RUNS)
    assert machine.words(*EVERY) == ["performance", *BEFORE[1:]]
    tuned(machine, state).restore(OF_RUN)
    assert machine.words(*EVERY) == BEFORE


def test_a_run_on_a_tuned_machine_leaves_it_tuned(
    machine: Machine, state: Path
) -> None:
    tuned(machine, state).apply(TUNED, SHOWN)
    tuned(machine, state).apply(OF_RUN, OF_RUNS)
    assert machine.words(*EVERY) == ["performance", "performance", "1", "0"]
    tuned(machine, state).restore(OF_RUN)
    assert machine.words(*EVERY) == ["performance", "performance", "4", "0"]
    tuned(machine, state).restore(TUNED)
    assert machine.words(*EVERY) == BEFORE


def test_reset_restores_what_a_killed_run_has_left_too(
    machine: Machine, state: Path
) -> None:
    tuned(machine, state).apply(TUNED, [ASLR_SETTING])
    tuned(machine, state).apply(OF_RUN, OF_RUNS)
    tuned(machine, state).restore(TUNED)
    assert machine.words(*EVERY) == BEFORE
    assert not state.exists()


def test_tuned_twice_the_first_values_come_back(machine: Machine, state: Path) -> None:
    tuned(machine, state).apply(TUNED, [GOVERNOR])
    machine.write(POLICIES[0], "schedutil")
    tuned(machine, state).apply(TUNED, [GOVERNOR])
    assert machine.words(*POLICIES) == ["performance", "performance"]
    tuned(machine, state).restore(TUNED)
    assert machine.words(*POLICIES) == ["powersave", "powersave"]


def test_what_somebody_else_has_changed_since_is_left(
    machine: Machine, state: Path
) -> None:
    tuned(machine, state).apply(OF_RUN, OF_RUNS)
    machine.write(POLICIES[0], "schedutil")
    said = tuned(machine, state).restore(OF_RUN)
    assert machine.words(*EVERY) == ["schedutil", *BEFORE[1:]]
    assert any("schedutil, which is not ours" in words for words in said)


def test_what_another_boot_has_left_is_dropped(machine: Machine, state: Path) -> None:
    tuned(machine, state).apply(OF_RUN, OF_RUNS)
    machine.boot("second")
    machine.write(PRINTK, "1\t4\t1\t7")  # as this boot has it
    assert tuned(machine, state).changes(OF_RUN) == []
    assert tuned(machine, state).restore(TUNED) == []
    assert machine.words(PRINTK) == ["1"]
    assert not state.exists()


def test_what_is_as_wanted_is_neither_touched_nor_restored(
    machine: Machine, state: Path
) -> None:
    machine.write(PRINTK, "1\t4\t1\t7")
    tuned(machine, state).apply(OF_RUN, [CONSOLE])
    assert not state.exists()
    assert (machine.root / PRINTK).read_text() == "1\t4\t1\t7\n"


def test_what_cannot_be_restored_now_stays_remembered(
    machine: Machine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(machine, state).apply(OF_RUN, OF_RUNS)

    def busy(change: SettingChange) -> str:
        raise OSError(16, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(SettingChange, "revert", busy)
        said = tuned(machine, state).restore(OF_RUN)
    assert any("resource busy" in words for words in said)
    assert len(tuned(machine, state).changes(OF_RUN)) == 3
    tuned(machine, state).restore(OF_RUN)
    assert machine.words(*EVERY) == BEFORE


def test_a_file_that_is_gone_is_said(machine: Machine, state: Path) -> None:
    tuned(machine, state).apply(OF_RUN, [GOVERNOR])
    (machine.root / POLICIES[1]).unlink()
    said = tuned(machine, state).restore(OF_RUN)
    assert any("is gone" in words for words in said)
    assert machine.words(POLICIES[0]) == ["powersave"]
    assert not state.exists()


def test_a_kernel_that_takes_another_value_is_told(
    machine: Machine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "value", lambda path, wanted: "powersave")
    said = tuned(machine, state).apply(OF_RUN, [GOVERNOR])
    assert len(said) == 2
    assert "stays powersave" in said[0]


def test_a_damaged_memory_is_an_error_that_names_it(
    machine: Machine, state: Path
) -> None:
    state.parent.mkdir()
    state.write_text("{")
    with pytest.raises(ConfigError, match=r"settings\.json is damaged"):
        tuned(machine, state).restore(TUNED)


class Kernel:
    """cgroup2: what is written to its root switches a controller."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._on = machine.root / SUBTREE
        self.used: set[str] = set()
        machine.write(SUBTREE, "cpu")
        machine.write(f"{Path(SUBTREE).parent}/cgroup.controllers", "cpu memory pids")
        self._write_text = Path.write_text
        written = self.write

        def write(path: Path, text: str, *rest: Any, **more: Any) -> int:
            if path == self._on:
                return written(text)
            return self._write_text(path, text, *rest, **more)

        monkeypatch.setattr(Path, "write_text", write)

    def write(self, text: str) -> int:
        sign, name = text[0], text[1:].strip()
        if sign == "-" and name in self.used:
            raise OSError(errno.EBUSY, "Device or resource busy")
        words = {*self.words(), name} - ({name} if sign == "-" else set())
        return self._write_text(self._on, " ".join(sorted(words)))

    def words(self) -> list[str]:
        return self._on.read_text().split()


@pytest.fixture
def groups(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(machine, monkeypatch)


def test_controllers_are_on_for_the_runs_and_then_as_they_were(
    machine: Machine, state: Path, groups: Kernel
) -> None:
    assert tuned(machine, state).apply(OF_RUN, [MEMORY, PIDS]) == []
    assert groups.words() == ["cpu", "memory", "pids"]
    said = tuned(machine, state).restore(OF_RUN)
    assert groups.words() == ["cpu"]
    assert len(said) == 2
    assert not state.exists()


def test_a_controller_that_was_on_stays_on(
    machine: Machine, state: Path, groups: Kernel
) -> None:
    groups.write("+memory")
    tuned(machine, state).apply(OF_RUN, [MEMORY, PIDS])
    tuned(machine, state).restore(OF_RUN)
    assert groups.words() == ["cpu", "memory"]


def test_a_controller_that_others_use_by_now_is_left_to_them(
    machine: Machine, state: Path, groups: Kernel
) -> None:
    tuned(machine, state).apply(OF_RUN, [MEMORY, PIDS])
    groups.used = {"memory"}
    said = tuned(machine, state).restore(OF_RUN)
    assert groups.words() == ["cpu", "memory"]
    assert any("others use +memory by now" in words for words in said)
    assert not state.exists(), "there is nothing left to do"


def test_a_controller_that_is_not_there_is_said(
    machine: Machine, state: Path, groups: Kernel
) -> None:
    machine.write(f"{Path(SUBTREE).parent}/cgroup.controllers", "cpu")
    (words,) = tuned(machine, state).apply(OF_RUN, [MEMORY])
    assert words == "memory-controller: this kernel has no controller memory"


def test_one_at_a_time(machine: Machine, state: Path) -> None:
    with (
        tuned(machine, state).held(),
        pytest.raises(ConfigError, match=f"is running .*process {os.getpid()}"),
        tuned(machine, state).held(),
    ):
        pass


def test_a_watchdog_that_restores_is_waited_for(
    machine: Machine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = contextlib.ExitStack()
    held.enter_context(tuned(machine, state).held(tuning.RESTORING))
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if slept.count(tuning._POLL_S) == 3:
            held.close()

    monkeypatch.setattr(time, "sleep", sleep)
    with tuned(machine, state).held():
        assert slept.count(tuning._POLL_S) == 3


def test_without_a_place_for_the_lock(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(MissingRequirement, match="needs root"),
        Tuning(machine.root, tmp_path / "file/run").held(),
    ):
        pass
