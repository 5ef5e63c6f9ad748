# SPDX-License-Identifier: GPL-2.0-only
"""Every check, in each state that can be made here without root."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from datetime import datetime
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments import paths, registry
from experiments.doctor import check_host, check_labroot, check_machine, check_packages
from experiments.doctor.check import Answer, Check, CheckStatus, broken, findings, found
from experiments.errors import ConfigError, MissingRequirement
from experiments.kernel import cgroup, clock, sched_ext
from experiments.labroot import kernel_image, lab_root, make
from experiments.labroot.kernel_image import Kernel
from experiments.model import Completed
from experiments.support import userns
from experiments.vm import accel

_Usage = namedtuple("_Usage", "total used free")
_Memory = namedtuple("_Memory", "available")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    as_user(monkeypatch, 0)
    return tmp_path / "scxlab"


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def programs(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """PATH holds these and no others."""
    monkeypatch.setattr(
        shutil, "which", lambda name: f"/bin/{name}" if name in names else None
    )


def says(answer: Answer, status: CheckStatus, words: str, remedy: str = "") -> None:
    assert answer.status is status, answer
    assert words in answer.found
    assert remedy in answer.remedy
    assert bool(answer.remedy) == (status is not CheckStatus.FOUND), "what to type"


def make_root(**changes: object) -> Path:
    place = lab_root.place()
    files = ("usr/bin/clang", "usr/sbin/bpftool", "usr/bin/qemu-system-x86_64")
    for name in (*files, "usr/libexec/virtiofsd"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch(0o755)
    (place / "lab").mkdir()
    versions = {"qemu-system-x86": "1:11.1", "virtiofsd": "1.14"}
    said = {"key": lab_root.key(), "suite": lab_root.SUITE, "packages": versions}
    (place / "lab/labroot.json").write_text(json.dumps(said | changes))
    return place


# --- the machinery --------------------------------------------------------------------


def test_a_check_that_raises_is_broken_and_the_others_are_asked() -> None:
    def fails() -> Answer:
        raise ZeroDivisionError("by zero")

    def lacks() -> Answer:
        raise MissingRequirement("no thing: get it")

    checks = [
        Check("a", "x", fails),
        Check("b", "y", lacks),
        Check("c", "z", lambda: found("here"), required=False),
    ]
    a, b, c = findings(checks)
    assert (a.status, a.found) == (
        CheckStatus.BROKEN,
        "the check failed: ZeroDivisionError: by zero",
    )
    assert (b.status, b.found, b.needed_for) == (
        CheckStatus.BROKEN,
        "no thing: get it",
        "y",
    )
    assert (c.status, c.found, c.required) == (CheckStatus.FOUND, "here", False)
    assert (a.is_problem, c.is_problem) == (True, False)


def test_what_is_optional_is_never_ill() -> None:
    (finding,) = findings([Check("a", "x", lambda: broken("b", "c"), required=False)])
    assert not finding.is_problem


# --- Python ---------------------------------------------------------------------------


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    says(check_packages.python(), CheckStatus.FOUND, platform.python_version())
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.4")
    says(
        check_packages.python(),
        CheckStatus.BROKEN,
        "3.10.4, and >=3.11 is demanded",
        "apt-get",
    )


def test_every_dependency_is_there_and_imports() -> None:
    says(
        check_packages.runtime(), CheckStatus.FOUND, "packages at the versions demanded"
    )
    says(
        check_packages.development(),
        CheckStatus.FOUND,
        "packages at the versions demanded",
    )


def test_the_module_of_a_distribution() -> None:
    assert check_packages._module("pyyaml") == "yaml"
    assert check_packages._module("pyelftools") == "elftools"
    assert check_packages._module("matplotlib") == "matplotlib"


def demand(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    project = {"dependencies": texts, "optional-dependencies": {"dev": texts}}
    monkeypatch.setattr(check_packages, "_project", lambda: project)


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    demand(monkeypatch, "rich>=13", "scxlab-no-such-thing>=2")
    for look in (check_packages.runtime, check_packages.development):
        says(look(), CheckStatus.MISSING, "no scxlab-no-such-thing>=2", "pip install")


def test_a_package_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    demand(monkeypatch, "rich>=999", "scxlab-no-such-thing")
    version = metadata.version("rich")
    says(check_packages.runtime(), CheckStatus.BROKEN, f"rich is {version}, not >=999")


def test_a_package_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    demand(monkeypatch, "rich")
    monkeypatch.setattr(check_packages, "_module", lambda name: "scxlab_no_such_module")
    says(
        check_packages.runtime(),
        CheckStatus.BROKEN,
        "rich does not import: ModuleNotFound",
    )
    says(check_packages.development(), CheckStatus.FOUND, "1 packages")


def test_a_requirement_of_another_system_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demand(monkeypatch, 'scxlab-no-such-thing; sys_platform == "win32"')
    says(check_packages.runtime(), CheckStatus.FOUND, "0 packages")


# --- the machine ----------------------------------------------------------------------


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
    says(check_machine._user(), CheckStatus.FOUND, "root")
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


# --- the lab root ---------------------------------------------------------------------


def test_no_lab_root(cache: Path) -> None:
    says(check_labroot._lab_root(), CheckStatus.MISSING, lab_root.place().name, "setup")
    (cache / "labroot-abc").mkdir(parents=True)
    words = "labroot-abc is of another version"
    says(check_labroot._lab_root(), CheckStatus.MISSING, words, "invoke setup")
    image = check_labroot._kernel(None)
    for answer in (image, check_labroot._program("virtiofsd", "usr/libexec/v")):
        says(answer, CheckStatus.MISSING, "comes with the lab root", "invoke setup")


def test_a_lab_root_and_its_age() -> None:
    stamp = make_root() / "lab/labroot.json"
    words = "forky, 2 packages, made "
    says(check_labroot._lab_root(), CheckStatus.FOUND, words)
    assert check_labroot._lab_root().found.endswith(", 0 days ago")
    then = time.time() - 100 * 86_400
    os.utime(stamp, (then, then))
    answer = check_labroot._lab_root()
    says(answer, CheckStatus.FOUND, "100 days ago; invoke setup --refresh")
    assert str(datetime.fromtimestamp(then).date()) in answer.found


def test_a_damaged_lab_root() -> None:
    place = make_root(key="another")
    says(
        check_labroot._lab_root(), CheckStatus.BROKEN, "says it is another", "--refresh"
    )
    (place / "usr/bin/clang").unlink()
    says(check_labroot._lab_root(), CheckStatus.BROKEN, "clang is gone", "--refresh")
    (place / "lab/labroot.json").write_text("{")
    says(check_labroot._lab_root(), CheckStatus.BROKEN, "damaged", "--refresh")


def test_programs_of_the_lab_root() -> None:
    place = make_root()
    says(check_labroot._program(*check_labroot._QEMU), CheckStatus.FOUND, "1:11.1")
    virtiofsd = check_labroot._VIRTIOFSD
    says(check_labroot._program(*virtiofsd), CheckStatus.FOUND, "virtiofsd 1.14")
    words = "made without virtiofsd2"
    answer = check_labroot._program("virtiofsd2", virtiofsd[1])
    says(answer, CheckStatus.BROKEN, words, "--refresh")
    (place / virtiofsd[1]).unlink()
    says(check_labroot._program(*virtiofsd), CheckStatus.BROKEN, "is gone", "--refresh")


def is_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = Kernel("7.2", "abc", tmp_path / "vmlinux", tmp_path)
    monkeypatch.setattr(kernel_image, "prepare", lambda root, path: kernel)


def test_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_root()
    is_kernel(monkeypatch, tmp_path)
    says(check_labroot._kernel(None), CheckStatus.FOUND, "7.2, with sched_ext")

    def unfit(root: object, path: object) -> Kernel:
        raise MissingRequirement("it has no BTF")

    monkeypatch.setattr(kernel_image, "prepare", unfit)
    says(check_labroot._kernel(None), CheckStatus.BROKEN, "no BTF", "setup --refresh")
    as_user(monkeypatch, 1000)
    with pytest.raises(MissingRequirement, match="root"):  # not a fault of the kernel
        check_labroot._kernel(None)
    as_user(monkeypatch, 0)
    answer = check_labroot._kernel(Path("/boot/k"))
    says(answer, CheckStatus.BROKEN, "no BTF", "leave --kernel away")


def test_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    is_kernel(monkeypatch, tmp_path)
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path / "absent")
    says(
        check_labroot._kvm(None), CheckStatus.MISSING, "absent: guests are", "modprobe"
    )
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path)
    says(
        check_labroot._kvm(None),
        CheckStatus.MISSING,
        "has to be booted",
        "invoke setup",
    )
    make_root()
    said = ["kvm", "a guest boots"]
    monkeypatch.setattr(accel, "_probe", lambda root, kernel: tuple(said))
    says(check_labroot._kvm(None), CheckStatus.FOUND, "a guest boots, asked 20")
    said = ["tcg", "another answer"]
    says(check_labroot._kvm(None), CheckStatus.FOUND, "a guest boots")  # remembered
    accel.remembered_in().unlink()
    says(check_labroot._kvm(None), CheckStatus.BROKEN, "(TCG): another", "accel.json")


def test_mmdebstrap_is_needed_until_there_is_a_lab_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs(monkeypatch)
    says(check_labroot._mmdebstrap(), CheckStatus.MISSING, "PATH", "install mmdebstrap")
    programs(monkeypatch, "mmdebstrap")
    monkeypatch.setattr(make, "KEYRINGS", (tmp_path / "keys",))
    says(
        check_labroot._mmdebstrap(), CheckStatus.MISSING, "no Debian archive", "keyring"
    )
    (tmp_path / "keys").touch()
    says(check_labroot._mmdebstrap(), CheckStatus.FOUND, "/bin/mmdebstrap")

    def required() -> bool:
        by_name = {c.name: c for c in check_labroot.checks()}
        return by_name["mmdebstrap"].required

    assert required()
    make_root()
    assert not required()


# --- the host backend -----------------------------------------------------------------


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
