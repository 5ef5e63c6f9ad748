# SPDX-License-Identifier: GPL-2.0-only
"""Who may run schedulers on this machine's own kernel, and when that is refused."""

from __future__ import annotations

import functools
import io
import json
import os
import platform
import shutil
import signal
import sys
from pathlib import Path

import pytest

from experiments.backends import host
from experiments.build import builder
from experiments.commands import system
from experiments.errors import ConfigError, MissingRequirement
from experiments.kernel import sched_ext
from experiments.labroot import cell, host_toolchain, lab_root
from experiments.machine import consent, stale_state, tuning
from experiments.machine.settings import OF_RUNS
from experiments.machine.tuning import OF_RUN, TUNED, Tuning
from experiments.plan import config
from experiments.support import locks
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


@pytest.mark.parametrize("name", ["release", "version"])
def test_consent_is_for_one_kernel(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A kernel that was built anew has the release of the one before, mostly."""
    consent.obtain(yes=True)
    monkeypatch.setattr(platform, name, lambda: "another")
    assert not consent.given()


def test_a_module_is_agreed_to_by_itself_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return "yes"

    consent.obtain(yes=False, module=False, ask=ask)
    assert "scx_map_scan" not in asked[0]
    assert not consent.given(module=True)
    consent.obtain(yes=False, module=True, ask=ask)
    for word in ("scx_map_scan.ko", "taints", "out of tree", "unsigned", "reboot"):
        assert word in asked[1]
    assert platform.release() in asked[1]
    consent.obtain(yes=False, module=False, ask=never)
    consent.obtain(yes=False, module=True, ask=never)


def test_only_one_strategy_takes_a_module() -> None:
    """As the builder has it."""
    assert consent.needs_module(["scan", builder._BY_MODULE])
    assert builder.MODULE == consent._MODULE_FILE
    assert not consent.needs_module(["scan", "timer"])


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/sys/kernel/sched_ext, for root; nothing of the machine itself is touched."""
    sysfs = tmp_path / "sched_ext"
    (sysfs / "root").mkdir(parents=True)
    (sysfs / "state").write_text("disabled\n")
    monkeypatch.setattr(sched_ext, "SYSFS", sysfs)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    own = functools.partial(Tuning, tmp_path / "root", tmp_path / "run")
    boot_id = tmp_path / "root/proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("this\n")
    monkeypatch.setattr(tuning, "Tuning", own)
    monkeypatch.setattr(stale_state, "clean", list)
    return sysfs


def test_another_scheduler_is_named(kernel: Path) -> None:
    (kernel / "state").write_text("enabled\n")
    (kernel / "root/ops").write_text("lavd_1.0\n")
    with pytest.raises(MissingRequirement, match=r"'lavd_1\.0' is in charge"):
        host.HostBackend.target(SETTINGS)


def test_a_leftover_of_ours_is_no_other_scheduler(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is unloaded before anybody is told to stop a program that is not there."""
    (kernel / "state").write_text("enabled\n")
    (kernel / "root/ops").write_text("scx_simple_test\n")

    def clean() -> list[str]:
        assert locks.owner(tuning.Tuning()._lock), "not under the lock"
        (kernel / "state").write_text("disabled\n")
        return ["ended the agent 7, whose invoke is gone"]

    monkeypatch.setattr(stale_state, "clean", clean)
    with pytest.raises(ConfigError, match="agreed"):
        host.HostBackend.target(SETTINGS)
    assert "left by an invoke that was killed: ended the agent 7" in (
        capsys.readouterr().out
    )


def test_while_another_experiment_runs_that_one_is_named(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler in charge is its; nothing of it is taken for a leftover."""
    (kernel / "state").write_text("enabled\n")
    monkeypatch.setattr(stale_state, "clean", lambda: pytest.fail("it is in use"))
    with (
        tuning.Tuning().held(),
        pytest.raises(ConfigError, match="another experiment is running"),
    ):
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
    def is_machine(root: Path) -> bool:
        return bool(json.loads(cell.command(root, ["true"])[-1])["is_machine"])

    assert is_machine(lab_root.machine())
    assert not is_machine(tmp_path)


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
    monkeypatch.setattr(system, "_ROOT", made.root)
    return made


def test_reset_restores_what_was_tuned_and_what_a_killed_run_left(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.act("tune", yes=True)
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


def test_without_a_terminal_and_without_yes_aslr_stays_on(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    system.tune(ask=never)
    assert machine.words(ASLR, POLICIES[0]) == ["2", "performance"]
    said = capsys.readouterr().out
    assert "aslr: left on" in said
    assert "--yes" in said


@pytest.mark.parametrize(("answer", "aslr"), [("yes", "0"), ("", "2"), ("no", "2")])
def test_on_a_terminal_it_is_asked_before_aslr_is_turned_off(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: str, aslr: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        assert machine.words(ASLR) == ["2"]
        return answer

    system.tune(ask=ask)
    assert machine.words(ASLR, POLICIES[0]) == [aslr, "performance"]
    assert "easier to break into" in asked[0]
    assert "system reset" in asked[0]


def test_nothing_is_asked_where_aslr_is_off(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    machine.write(ASLR, "0")
    system.tune(ask=never)


@pytest.mark.parametrize("action", ["show", "reset"])
def test_yes_answers_nothing_else(action: str) -> None:
    with pytest.raises(ConfigError, match="--yes is for tune"):
        system.act(action, yes=True)


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
