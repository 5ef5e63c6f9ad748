# SPDX-License-Identifier: GPL-2.0-only
"""The lab root and what a guest is made of: kernel, QEMU, virtiofsd, KVM or TCG."""

from __future__ import annotations

import datetime
import functools
import os
import shutil
import time
from pathlib import Path

from experiments import paths
from experiments.doctor.check import Answer, Check, broken, found, missing
from experiments.errors import LabRootError, MissingRequirement
from experiments.labroot import kernel_image, lab_root, make
from experiments.vm import accel

_SETUP = "invoke setup"
_REFRESH = "invoke setup --refresh"
_DAY_S = 86_400
#: A suite that is not released moves; after this long a newer kernel is likely.
_OLD_DAYS = 90


def checks(kernel: Path | None = None) -> list[Check]:
    """Return `kernel` is one of the user's own; None stands for the lab root's."""
    image = functools.partial(_kernel, kernel)
    return [
        Check("lab root", "build, run", _lab_root),
        Check("kernel", "build, run: the guest", image),
        Check("qemu", "run", functools.partial(_program, *_QEMU)),
        Check("virtiofsd", "run", functools.partial(_program, *_VIRTIOFSD)),
        # A lab root that is there needs it no more
        Check("mmdebstrap", "setup", _mmdebstrap, required=not _is_made()),
    ]


def optional_checks(kernel: Path | None = None) -> list[Check]:
    probe = functools.partial(_kvm, kernel)
    return [Check("kvm", "run: faster guests", probe, required=False)]


#: Package and file of the root.
_QEMU = ("qemu-system-x86", "usr/bin/qemu-system-x86_64")
_VIRTIOFSD = ("virtiofsd", "usr/libexec/virtiofsd")


def _stamp() -> Path:
    return lab_root.place() / "lab/labroot.json"


def _is_made() -> bool:
    return _stamp().exists()


def _mmdebstrap() -> Answer:
    if (path := shutil.which("mmdebstrap")) is None:
        return missing("it is not in PATH", "apt-get install mmdebstrap")
    if not any(keyring.exists() for keyring in make.KEYRINGS):
        return missing(
            "no Debian archive keys", "apt-get install debian-archive-keyring"
        )
    return found(path)


def _lab_root() -> Answer:
    place, cache = lab_root.place(), paths.cache_dir()
    if not _is_made():
        others = sorted(p.name for p in cache.glob("labroot-*") if p != place)
        words = f"no {place.name} in {cache}"
        if others:
            words += f"; {', '.join(others)} is of another version of this project"
        return missing(f"{words}; setup {lab_root.ANNOUNCEMENT}", _SETUP)
    try:
        root = lab_root.read_root()
    except LabRootError as error:
        return broken(str(error), _REFRESH)
    if root.key != lab_root.key():
        return broken(f"{place} says it is {root.key}", _REFRESH)
    made = _stamp().stat().st_mtime
    day = datetime.datetime.fromtimestamp(made).date()
    days = int((time.time() - made) / _DAY_S)
    old = f"; {_REFRESH} gets newer packages" if days > _OLD_DAYS else ""
    words = f"{place}: {root.suite}, {len(root.packages)} packages"
    return found(f"{words}, made {day}, {days} days ago{old}")


def _absent() -> Answer:
    return missing("it comes with the lab root", _SETUP)


def _program(package: str, file: str) -> Answer:
    if not _is_made():
        return _absent()
    root = lab_root.read_root()
    path = root.path / file
    if not os.access(path, os.X_OK):
        return broken(f"{path} is gone or no program", _REFRESH)
    if package not in root.packages:
        return broken(f"the lab root was made without {package}", _REFRESH)
    return found(f"{package} {root.packages[package]}")


def _kernel(path: Path | None) -> Answer:
    if not _is_made():
        return _absent()
    root = lab_root.open_root()
    try:
        kernel = kernel_image.prepare(root, path)
    except MissingRequirement as error:
        return broken(str(error), "leave --kernel away" if path else _REFRESH)
    return found(f"{kernel.version}, with sched_ext, BTF, and kfuncs in BTF")


def _kvm(path: Path | None) -> Answer:
    """Return what the probe boot said.

    It is made now if nothing is remembered of it.
    """
    device = accel.KVM_DEVICE
    if not device.exists():
        return missing(
            f"no {device}: guests are emulated (TCG), slower but right",
            "modprobe kvm_intel (or kvm_amd), or switch it on in the firmware",
        )
    if not _is_made():
        return missing(f"{device} is there; a guest has to be booted to know", _SETUP)
    root = lab_root.open_root()
    kernel = kernel_image.prepare(root, path)
    name, why = accel.choose(root, kernel)
    said = accel.answer(root, kernel)
    when = f", asked {said.when.isoformat(' ', 'minutes')}" if said else ""
    if name == "kvm":
        return found(f"{why}{when}")
    return broken(
        f"guests are emulated (TCG): {why}{when}; without the file it is asked again",
        f"rm {accel.remembered_in()}; invoke doctor",
    )
