# SPDX-License-Identifier: GPL-2.0-only
"""The parts of the VM backend that need no VM."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from experiments.agent.handing import copy_object
from experiments.errors import BackendLost, ConfigError, HelperLost
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuiltObject
from experiments.support.capped_log import CappedLog
from experiments.vm import accel
from experiments.vm.guest import Guest
from experiments.vm.qemu_command import Shape, qemu_argv


def built(path: Path) -> BuiltObject:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return BuiltObject(path, sha256, "x", "none", "tasks", "", {}, {})


def test_an_object_is_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "x.bpf.o", tmp_path / "copy"
    source.write_text("one")
    copy_object(built(source), target)
    assert target.read_text() == "one"


def test_an_object_built_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    source, target = tmp_path / "x.bpf.o", tmp_path / "staged"
    source.write_text("one")
    known = built(source)
    source.write_text("built anew")
    with pytest.raises(ConfigError, match="built anew"):
        copy_object(known, target)
    assert not target.exists()


def test_tcg_has_a_thread_for_each_cpu() -> None:
    argv = qemu_argv(Shape(4, 1024, "tcg"), 3, 4, None)
    assert argv[argv.index("-accel") + 1] == "tcg,thread=multi"
    assert argv[argv.index("-smp") + 1] == "4"
    assert "-no-reboot" in argv, "a panic has to end QEMU"


def test_kvm_is_handed_over_as_no_cell_has_it() -> None:
    argv = qemu_argv(Shape(2, 1024, "kvm"), 3, 4, 5)
    assert argv[argv.index("-add-fd") + 1] == "fd=5,set=1"
    assert argv[argv.index("-accel") + 1] == "kvm,device=/dev/fdset/1"


def logged(path: Path, text: str) -> CappedLog:
    reading, writing = os.pipe()
    log = CappedLog(reading, path)
    with os.fdopen(writing, "wb") as file:
        file.write(text.encode())
    return log


def dead(
    tmp_path: Path, code: int, qemu_log: str = "", console: str = ""
) -> Callable[[str], str]:
    """Return what is said of a guest whose programs ended with `code`."""
    ended = SimpleNamespace(wait=lambda seconds: code, poll=lambda: code)
    guest = object.__new__(Guest)
    guest._run_dir = tmp_path
    programs = ("qemu", "virtiofsd")
    guest._processes = dict.fromkeys(programs, cast("subprocess.Popen[bytes]", ended))
    said = {**dict.fromkeys(programs, qemu_log), "console.log": console}
    guest._logs = {name: logged(tmp_path / name, text) for name, text in said.items()}
    return guest.last_words


def test_who_was_killed_is_said_with_the_signal(tmp_path: Path) -> None:
    console = "the last line of the console"
    words = dead(tmp_path, -signal.SIGKILL, console=console)
    assert words("guest").startswith("qemu got SIGKILL, which the kernel sends when")
    assert words("file server").startswith("virtiofsd got SIGKILL")


def test_a_console_is_no_text_for_a_terminal(tmp_path: Path) -> None:
    words = dead(tmp_path, 0, console="\x1b[2JKernel panic - \x1b]0;x\x07\n")
    assert words("guest") == r"Kernel panic - \x1b]0;x\x07"
    assert len(dead(tmp_path, 0, console="x" * 10**6)("guest")) == 2000


def test_a_crash_of_qemu_has_its_signal(tmp_path: Path) -> None:
    assert dead(tmp_path, -signal.SIGSEGV)("guest") == "qemu got SIGSEGV"


def test_a_panic_is_told_before_how_qemu_ended(tmp_path: Path) -> None:
    words = dead(tmp_path, 0, console="x\nKernel panic - not syncing: y\nz\n")
    assert words("guest") == "Kernel panic - not syncing: y"
    oops = "[ 49.1] Oops: int3: 0000 [#1] SMP NOPTI\n[ 49.1] RIP: 0010:__schedule\n"
    words = dead(tmp_path, 0, console=f"{oops}Kernel panic - not syncing: y\n")
    assert words("guest") == (
        "Kernel panic - not syncing: y, after Oops: int3: 0000 [#1] SMP NOPTI"
    )


def test_who_ended_by_itself_is_told_in_its_words(tmp_path: Path) -> None:
    assert dead(tmp_path, 1, "qemu: no such device\n")("guest").endswith("such device")
    assert dead(tmp_path, 0, console="a\nb\n")("guest") == "a\nb"
    assert dead(tmp_path, 0)("guest") == "qemu left no message"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LabRoot, Kernel]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path)
    root = LabRoot(tmp_path, "key", "suite", {"qemu-system-x86": "1"})
    return root, Kernel("7", "abc", tmp_path / "vmlinux", tmp_path)


def test_kvm_that_does_not_boot_is_tcg_and_remembered_for_this_kernel(
    machine: tuple[LabRoot, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def no_guest(*args: object) -> None:
        asked.append(args)
        raise BackendLost("failed to set MSR")

    monkeypatch.setattr(accel, "Guest", no_guest)
    root, kernel = machine
    for _ in range(2):
        name, why = accel.choose(root, kernel)
        assert name == "tcg"
        assert "failed to set MSR" in why
    assert len(asked) == 1
    accel.choose(root, Kernel("7", "another", kernel.image, kernel.folder))
    assert len(asked) == 2


def test_a_file_server_that_fails_says_nothing_about_kvm(
    machine: tuple[LabRoot, Kernel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_server(*args: object) -> None:
        raise HelperLost("virtiofsd: no such option")

    monkeypatch.setattr(accel, "Guest", no_server)
    with pytest.raises(HelperLost, match="no such option"):
        accel.choose(*machine)
    assert not (tmp_path / "scxlab/accel.json").exists(), "it is asked again"


def test_without_a_device_nothing_is_probed(
    machine: tuple[LabRoot, Kernel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path / "absent")
    name, why = accel.choose(*machine)
    assert name == "tcg"
    assert "there is no" in why


def test_a_damaged_memory_of_the_probe_is_asked_again(
    machine: tuple[LabRoot, Kernel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_guest(*args: object) -> None:
        raise BackendLost("hang")

    monkeypatch.setattr(accel, "Guest", no_guest)
    accel.choose(*machine)
    stored = tmp_path / "scxlab/accel.json"
    assert json.loads(stored.read_text())["accel"] == "tcg"
    stored.write_text("{")
    assert accel.choose(*machine)[0] == "tcg"
