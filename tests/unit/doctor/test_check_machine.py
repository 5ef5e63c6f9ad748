# SPDX-License-Identifier: GPL-2.0-only
"""Checks of the machine: tools, disk, user, clock."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments import paths
from experiments.doctor import check_machine
from experiments.doctor.check import Answer, CheckStatus
from experiments.errors import ConfigError
from experiments.kernel import clock
from experiments.model import Completed
from experiments.support import userns
from tests.unit.doctor.answers import as_user, make_root, programs, says

pytestmark = pytest.mark.usefixtures("cache")


_Usage = namedtuple("_Usage", "total used free")


_Memory = namedtuple("_Memory", "available")


def test_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says(check_machine._config(), CheckStatus.FOUND, "in order")
    damaged = tmp_path / "config.yaml"
    damaged.write_text("iteratoins: 3")
    monkeypatch.setattr(paths, "CONFIG_FILE", damaged)
    with pytest.raises(ConfigError, match="did you mean 'iterations'"):
        check_machine._config()


def test_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = _Memory(8 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    says(check_machine._machine(), CheckStatus.FOUND, "8,192 MB of memory free")
    memory = _Memory(1 << 30)
    says(
        check_machine._machine(),
        CheckStatus.BROKEN,
        "vm.memory_mb",
        "lower vm.memory_mb",
    )
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    says(check_machine._machine(), CheckStatus.BROKEN, "riscv64", "x86-64")


def test_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "denial", lambda: "No space left on device")
    says(check_machine._user(), CheckStatus.BROKEN, "No space", "max_user_namespaces")
    monkeypatch.setattr(userns, "denial", lambda: "")
    says(check_machine._user(), CheckStatus.FOUND, "root")
    monkeypatch.setattr(platform, "release", lambda: "5.10.0-28-amd64")
    says(check_machine._user(), CheckStatus.BROKEN, "5.10.0-28-amd64", "later kernel")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-9-amd64")
    as_user(monkeypatch, 1000)
    monkeypatch.setattr(userns, "refusal", lambda: "there is no newuidmap")
    says(check_machine._user(), CheckStatus.MISSING, "no newuidmap", "sudo")
    monkeypatch.setattr(userns, "refusal", lambda: "")
    says(check_machine._user(), CheckStatus.FOUND, "root in a user namespace")


def test_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    programs(monkeypatch, "unshare", "setpriv", "mount", "chroot", "sh")
    says(check_machine._tools(), CheckStatus.FOUND, "unshare")
    programs(monkeypatch, "setpriv", "mount", "sh")
    says(
        check_machine._tools(), CheckStatus.MISSING, "no unshare, chroot", "util-linux"
    )


@pytest.mark.parametrize(
    ("look", "words"),
    [(check_machine._cache_disk, "scxlab"), (check_machine._results_disk, "results")],
)
def test_disk(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[], Answer], words: str
) -> None:
    free = 9 * 10**9
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, free))
    says(look(), CheckStatus.FOUND, f"{words}: 9.0 GB free")
    free = 10**8
    says(look(), CheckStatus.BROKEN, "0.1 GB free", "make room")


def test_a_lab_root_to_be_made_needs_more_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, 10**9))
    says(
        check_machine._cache_disk(),
        CheckStatus.BROKEN,
        "4.0 GB are needed",
        "XDG_CACHE",
    )
    make_root()
    says(check_machine._cache_disk(), CheckStatus.FOUND, "1.0 GB free")


def test_disk_that_may_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, how: False)
    says(
        check_machine._results_disk(), CheckStatus.BROKEN, "may not be written", "chown"
    )


def unshare_ends(monkeypatch: pytest.MonkeyPatch, status: int, words: str = "") -> None:
    done = Completed(("unshare",), status, "", words, 0.1)
    monkeypatch.setattr(userns, "run", lambda *args, **kwargs: done)


def test_user_namespaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs(monkeypatch)
    says(
        check_machine.user_namespaces(),
        *(CheckStatus.MISSING, "no newuidmap, newgidmap", "apt-get install uidmap"),
    )
    programs(monkeypatch, "newuidmap", "newgidmap")
    unshare_ends(monkeypatch, 0)
    says(check_machine.user_namespaces(), CheckStatus.FOUND, "they work")
    unshare_ends(monkeypatch, 1, "unshare: Operation not permitted\n")
    monkeypatch.setattr(check_machine, "PROC_SYS", tmp_path)
    says(
        check_machine.user_namespaces(), CheckStatus.BROKEN, "not permitted", "as root"
    )
    (tmp_path / "user").mkdir()
    (tmp_path / "user/max_user_namespaces").write_text("0\n")
    says(check_machine.user_namespaces(), CheckStatus.BROKEN, "not permitted", "sysctl")


def test_a_user_needs_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    programs(monkeypatch, "newuidmap", "newgidmap")
    unshare_ends(monkeypatch, 0)
    as_user(monkeypatch, 1000)
    monkeypatch.setattr(userns, "most_ids", lambda file: 65535)
    says(check_machine.user_namespaces(), CheckStatus.MISSING, "/etc/subuid", "usermod")
    monkeypatch.setattr(userns, "most_ids", lambda file: 65536)
    says(check_machine.user_namespaces(), CheckStatus.FOUND, "they work")


def test_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "source", lambda: "tsc")
    says(check_machine._clock(), CheckStatus.FOUND, "clocksource tsc")
    monkeypatch.setattr(clock, "source", lambda: "hpet")
    says(
        check_machine._clock(), CheckStatus.BROKEN, "hpet: slow to read", "tsc=reliable"
    )
    readings = iter(range(1_000_000, 0, -1))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(readings))
    says(check_machine._clock(), CheckStatus.BROKEN, "backwards", "another machine")


def test_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "is_synchronised", lambda: True)
    says(check_machine._time_of_day(), CheckStatus.FOUND, ", kept by NTP")
    monkeypatch.setattr(clock, "is_synchronised", lambda: False)
    says(check_machine._time_of_day(), CheckStatus.FOUND, "NOT kept by NTP")
    late = paths.RESULTS / "x/manifest.json"
    late.parent.mkdir()
    late.touch()
    os.utime(late, (time.time() + 3600,) * 2)
    words = "1 files in results/ are from the future, x/manifest.json first"
    says(check_machine._time_of_day(), CheckStatus.BROKEN, words, "timedatectl")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    says(check_machine._time_of_day(), CheckStatus.BROKEN, "this checkout is from")
