# SPDX-License-Identifier: GPL-2.0-only
"""Checks of the lab root, its kernel, and what makes it."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments.doctor import check_labroot
from experiments.doctor.check import CheckStatus
from experiments.errors import MissingRequirement
from experiments.labroot import kernel_image, lab_root, make
from experiments.labroot.kernel_image import Kernel
from experiments.vm import accel
from tests.unit.doctor.answers import as_user, make_root, programs, says

pytestmark = pytest.mark.usefixtures("cache")


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
