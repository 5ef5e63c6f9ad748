# SPDX-License-Identifier: GPL-2.0-only
"""Checks of what the host backend takes: they never decide."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments import paths, registry
from experiments.doctor import check_host
from experiments.doctor.check import Answer, CheckStatus
from experiments.kernel import cgroup, sched_ext
from tests.unit.doctor.answers import programs, says

pytestmark = pytest.mark.usefixtures("cache")


def test_the_host_never_decides() -> None:
    assert not any(c.required for c in check_host.optional_checks())


def test_host_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "release", lambda: "6.12.1+deb13-amd64")
    says(check_host._kernel(), CheckStatus.FOUND, "6.12.1+deb13")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-9-amd64")
    says(check_host._kernel(), CheckStatus.BROKEN, "came with 6.12", "SCHED_CLASS_EXT")
    monkeypatch.setattr(check_host, "_BTF", tmp_path / "vmlinux")
    says(check_host._btf(), CheckStatus.MISSING, "CONFIG_DEBUG_INFO_BTF", "boot")
    (tmp_path / "vmlinux").write_bytes(b"x" * 200_000)
    says(check_host._btf(), CheckStatus.FOUND, "0.2 MB")


def test_host_sched_ext(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sched_ext, "SYSFS", tmp_path / "sched_ext")
    says(check_host._sched_ext(), CheckStatus.MISSING, "CONFIG_SCHED_CLASS_EXT", "boot")
    (tmp_path / "sched_ext/root").mkdir(parents=True)
    (tmp_path / "sched_ext/state").write_text("disabled\n")
    says(check_host._sched_ext(), CheckStatus.FOUND, "state disabled")
    (tmp_path / "sched_ext/root/ops").write_text("lavd\n")
    says(
        check_host._sched_ext(),
        CheckStatus.BROKEN,
        "'lavd' is loaded",
        "end the program",
    )


@pytest.mark.parametrize("look", [check_host._bpffs, check_host._tracefs])
def test_host_mounts(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[], Answer]
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    says(look(), CheckStatus.FOUND, " at /sys/")
    monkeypatch.setattr(os.path, "ismount", lambda path: False)
    says(look(), CheckStatus.MISSING, "no ", "mount -t ")


def test_host_cgroup2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    says(check_host._cgroup2(), CheckStatus.MISSING, "no cgroup2", "boot with")
    (tmp_path / "cgroup.controllers").write_text("cpu io\n")
    says(
        check_host._cgroup2(), CheckStatus.BROKEN, "without its memory", "boot without"
    )
    (tmp_path / "cgroup.controllers").write_text("cpu memory io\n")
    says(check_host._cgroup2(), CheckStatus.BROKEN, "without its pids", "boot without")
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    says(check_host._cgroup2(), CheckStatus.FOUND, "with memory")


def test_host_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs(monkeypatch)
    monkeypatch.setattr(paths, "BIN", tmp_path)
    says(check_host._bpftool(), CheckStatus.MISSING, "PATH", "install bpftool")
    known = ("custom-churn", "hackbench", "stress-ng")
    monkeypatch.setattr(registry, "names", lambda kind: known)
    answer = check_host._workloads()
    says(
        answer,
        CheckStatus.MISSING,
        "no hackbench; no stress-ng",
        "install rt-tests; apt",
    )
    assert "churn is not built" in answer.found
    programs(monkeypatch, "bpftool", "hackbench", "stress-ng")
    (tmp_path / "churn").touch()
    says(check_host._bpftool(), CheckStatus.FOUND, "/bin/bpftool")
    says(
        check_host._workloads(), CheckStatus.FOUND, "custom-churn, hackbench, stress-ng"
    )
