# SPDX-License-Identifier: GPL-2.0-only
"""Who may run schedulers on this machine's own kernel, and when that is refused."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from experiments.backends import host
from experiments.commands import system
from experiments.errors import ConfigError, MissingRequirement
from experiments.kernel import sched_ext
from experiments.labroot import host_toolchain, lab_root
from experiments.machine import consent, stale_state
from experiments.machine.settings import OF_RUNS
from experiments.machine.tuning import OF_RUN, TUNED, Tuning
from experiments.plan import config
from tests.unit.machine.machine import ASLR, POLICIES, PRINTK, Machine

SETTINGS = config.parse_config({"schema": 1, "backend": "host"}, "test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def never(question: str) -> str:
    raise AssertionError("somebody was asked")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path / "cache/scxlab"


def test_without_a_terminal_nobody_is_asked() -> None:
    with pytest.raises(ConfigError, match="--yes"):
        consent.obtain(yes=False, ask=never)
    assert not consent.given()


def test_yes_beforehand_is_remembered() -> None:
    consent.obtain(yes=True, ask=never)
    consent.obtain(yes=False, ask=never)


@pytest.mark.parametrize(
    ("answer", "agreed"), [("yes", True), (" Y ", True), ("", False), ("no", False)]
)
def test_on_a_terminal_it_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    if agreed:
        consent.obtain(yes=False, ask=ask)
        consent.obtain(yes=False, ask=never)
    else:
        with pytest.raises(ConfigError, match="not on this machine"):
            consent.obtain(yes=False, ask=ask)
    assert consent.given() is agreed
    assert len(asked) == 1


def test_a_terminal_that_is_closed_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())

    def closed(question: str) -> str:
        raise EOFError

    with pytest.raises(ConfigError):
        consent.obtain(yes=False, ask=closed)


def test_consent_is_for_one_machine_and_survives_a_reboot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = tmp_path / "machine-id"
    known.write_text("a\n")
    monkeypatch.setattr(consent, "_MACHINE_ID", known)
    consent.obtain(yes=True)
    assert consent.given()
    known.write_text("b\n")
    assert not consent.given()
    known.unlink()
    assert not consent.given(), "without an id it is the name and the CPU"


@pytest.mark.parametrize("text", ["{", "[]", '{"other": 1}', "7"])
def test_a_damaged_consent_is_none(cache: Path, text: str) -> None:
    cache.mkdir(parents=True)
    (cache / "host.json").write_text(text)
    assert not consent.given()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/sys/kernel/sched_ext, for root."""
    sysfs = tmp_path / "sched_ext"
    (sysfs / "root").mkdir(parents=True)
    (sysfs / "state").write_text("disabled\n")
    monkeypatch.setattr(sched_ext, "SYSFS", sysfs)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return sysfs


def test_another_scheduler_is_named(kernel: Path) -> None:
    (kernel / "state").write_text("enabled\n")
    (kernel / "root/ops").write_text("lavd_1.0\n")
    with pytest.raises(MissingRequirement, match=r"'lavd_1\.0' is in charge"):
        host.HostBackend.target(SETTINGS)


def test_only_root(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MissingRequirement, match="root"):
        host.HostBackend.target(SETTINGS)


def test_a_kernel_without_sched_ext(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sched_ext, "SYSFS", tmp_path / "absent")
    with pytest.raises(MissingRequirement, match="CONFIG_SCHED_CLASS_EXT"):
        host.HostBackend.target(SETTINGS)


def test_the_kernel_cannot_be_chosen(kernel: Path) -> None:
    settings = {"schema": 1, "backend": "host", "vm": {"kernel": "/boot/x"}}
    with pytest.raises(ConfigError, match="--kernel"):
        host.HostBackend.target(config.parse_config(settings, "test"))


def test_nothing_is_built_before_the_user_agrees(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_toolchain, "open_tools", lambda: pytest.fail("too early"))
    with pytest.raises(ConfigError, match="agreed"):
        host.HostBackend.target(SETTINGS)


def test_neither_lab_root_nor_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(MissingRequirement, match=r"invoke setup.*install clang llvm"):
        host_toolchain.open_tools()


def test_the_machines_own_root_is_made_up_in_memory(tmp_path: Path) -> None:
    made_up = " ".join(lab_root.enter(lab_root.machine(), ["true"]))
    assert "mount -t tmpfs" in made_up
    assert "mount -t tmpfs" not in " ".join(lab_root.enter(tmp_path, ["true"]))


def test_a_closed_terminal_is_an_interrupt() -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The tests themselves may be run under nohup
    of_terminal = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), host._hang_up_is_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, of_terminal)
        signal.signal(signal.SIGTERM, before)


def test_under_nohup_a_closed_terminal_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with host._hang_up_is_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_caches_that_cannot_be_dropped_are_a_fact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "_DROP_CACHES", tmp_path / "absent/drop_caches")
    assert host._drop_caches() is False
    monkeypatch.setattr(host, "_DROP_CACHES", tmp_path / "drop_caches")
    assert host._drop_caches() is True
    assert (tmp_path / "drop_caches").read_text() == "3\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: Path) -> Machine:
    made = Machine(tmp_path / "machine")
    monkeypatch.setattr(system, "Tuning", lambda: Tuning(made.root, tmp_path / "run"))
    monkeypatch.setattr(stale_state, "clean", list)
    return made


def test_reset_restores_what_was_tuned_and_what_a_killed_run_left(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.act("tune")
    assert machine.words(ASLR, POLICIES[0]) == ["0", "performance"]
    Tuning(machine.root, tmp_path / "run").apply(OF_RUN, OF_RUNS)
    system.act("reset")
    assert machine.words(ASLR, POLICIES[0], PRINTK) == ["2", "powersave", "4"]
    said = capsys.readouterr().out
    assert "aslr: 2 -> 0" in said
    assert "left by an invoke that was killed: console-level: " in said
    system.act("reset")
    assert "nothing to restore" in capsys.readouterr().out
    assert Tuning(machine.root, tmp_path / "run").changes(TUNED) == []


def test_an_action_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tune'"):
        system.act("tuen")


def test_every_setting_is_shown_with_its_reason(machine: Machine) -> None:
    machine.write("proc/7/comm", "irqbalance")
    rows = {row["setting"]: row for row in system.rows(machine.root)}
    assert set(rows) == {"governor", "turbo", "aslr", "irq-affinity"}
    assert rows["turbo"]["now"] == "not on this machine"
    assert "irqbalance" in rows["irq-affinity"]["now"]
    assert all(row["why"] for row in rows.values())
