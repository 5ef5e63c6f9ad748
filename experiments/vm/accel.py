# SPDX-License-Identifier: GPL-2.0-only
"""KVM or TCG: decided by a probe boot, once for a machine.

That /dev/kvm exists proves nothing: nested virtualisation may abort QEMU, or hang the
guest. Only a guest that came up and answered counts.
"""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import dataclass
from pathlib import Path

from experiments import paths
from experiments.agent import staging
from experiments.errors import BackendLost, HelperLost
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.machine.facts import cpu_model
from experiments.model import digest
from experiments.support import tempdirs
from experiments.support.files import atomic_write
from experiments.vm.guest import Guest
from experiments.vm.qemu_command import Shape

KVM_DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Remembered:
    """``accel`` is kvm or tcg; ``when`` is local time."""

    accel: str
    why: str
    when: datetime.datetime


def remembered_in() -> Path:
    return paths.cache_dir() / "accel.json"


def _machine(root: LabRoot, kernel: Kernel) -> str:
    """Return a key of all that a probe's answer depends on, this boot included."""
    qemu = root.packages.get("qemu-system-x86", "")
    boot = BOOT_ID.read_text().strip()
    return digest([platform.release(), cpu_model(), qemu, kernel.sha256, boot])[:12]


def choose(root: LabRoot, kernel: Kernel) -> tuple[str, str]:
    """Return (`kvm` or `tcg`, why); remembered until a reboot of the machine."""
    if not KVM_DEVICE.exists():
        return "tcg", f"there is no {KVM_DEVICE}"
    if (known := answer(root, kernel)) is not None:
        return known.accel, known.why
    accel, why = _probe(root, kernel)
    said = {"machine": _machine(root, kernel), "accel": accel, "why": why}
    atomic_write(remembered_in(), json.dumps(said))
    return accel, why


def answer(root: LabRoot, kernel: Kernel) -> Remembered | None:
    """Return what is remembered of the probe; None when it has to be made."""
    path = remembered_in()
    try:
        said = json.loads(path.read_text())
        if said["machine"] != _machine(root, kernel):
            return None
        when = datetime.datetime.fromtimestamp(path.stat().st_mtime)
        return Remembered(said["accel"], said["why"], when)
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _probe(root: LabRoot, kernel: Kernel) -> tuple[str, str]:
    shape = Shape(cpus=2, memory_mb=1024, accel="kvm")
    with tempdirs.directory("probe") as directory:
        share = directory / "share"
        staging.stage(share / "code")
        run_dir = directory / "run"
        try:
            guest = Guest(root, kernel, shape, share, run_dir, _PROBE_TIMEOUT_S)
        except HelperLost:
            raise  # which says nothing about KVM
        except BackendLost as error:
            return "tcg", f"a guest does not boot under KVM: {error}"
        guest.close()
    return "kvm", f"a guest boots under KVM in {guest.boot_s:.1f} s"
