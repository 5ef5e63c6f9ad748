# SPDX-License-Identifier: GPL-2.0-only
"""The lab root: one Debian suite, unpacked as a directory in the user's cache.

It supplies the kernel, its headers, compilers, tools, workloads, QEMU and virtiofsd,
so that builds and guests do not depend on the userspace of the machine. mmdebstrap
makes it from the apt sites that the machine itself uses. It is made beside its place
and renamed into it, so a half-made one is never used, and keyed by its packages.

Its programs run in cells (`cell.py`): when they end, or we do, nothing of them stays
mounted or running.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments import paths
from experiments.errors import LabRootError, MissingRequirement
from experiments.model import digest
from experiments.support import userns
from experiments.support.locks import LOCK, Held, Mode, hold

#: Suites rotate: this one has a kernel with sched_ext whose BTF is whole.
SUITE = "forky"
PACKAGES = (
    *("linux-image-cloud-amd64", "linux-headers-cloud-amd64", "kmod"),
    *("bpftool", "clang", "llvm", "libbpf-dev", "pahole", "make", "gcc", "libc6-dev"),
    *("qemu-system-x86", "virtiofsd"),
    *("stress-ng", "rt-tests", "sysbench", "procps", "iproute2"),
    *("python3", "python3-psutil", "python3-pyroute2"),
)
#: Raised when what setup does to a root changes.
_LAYOUT = 4

ANNOUNCEMENT = "downloads about 400 MB, takes 1.5 GB on disk and 2 to 6 minutes"

INSIDE_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
STAMP = "lab/labroot.json"


@dataclass(frozen=True)
class LabRoot:
    """A root that passed its checks; ``packages`` maps names to versions."""

    path: Path
    key: str
    suite: str
    packages: Mapping[str, str]

    @property
    def kernel_image(self) -> Path:
        """The newest kernel of the root, as the package has it (a bzImage)."""
        return max((self.path / "boot").glob("vmlinuz-*"), key=lambda p: p.name)


def key() -> str:
    """Return what changes with whatever `invoke setup` puts into a root."""
    return digest([SUITE, sorted(PACKAGES), _LAYOUT])[:12]


def place() -> Path:
    return paths.cache_dir() / f"labroot-{key()}"


def machine() -> Path:
    """Return what stands for the machine in the place of a lab root: no directory."""
    return paths.cache_dir() / "machine"


def is_made() -> bool:
    return (place() / STAMP).exists()


def lock() -> Path:
    """Return the lock of the cache: shared while its root is used, else for its maker.

    Nobody signs it: a name that a dead maker left would be taken for that of a user.
    """
    return paths.cache_dir() / LOCK


def open_root() -> LabRoot:
    """Return the lab root, checked; MissingRequirement when it has to be made first.

    It cannot be replaced until this process ends.
    """
    userns.require()
    try:
        _hold_shared(lock())
    except Held:
        raise LabRootError(
            "another invoke is making the lab root: wait for it"
        ) from None
    return read_root()


@functools.cache
def _hold_shared(path: Path) -> int:
    """Take the lock once: a process may open the root any number of times."""
    return hold(path, Mode.SHARED)


def read_root() -> LabRoot:
    """Return the lab root without its lock: it may be replaced meanwhile."""
    path = place()
    stamp = path / STAMP
    if not stamp.exists():
        raise MissingRequirement(
            f"there is no lab root at {path}: invoke setup ({ANNOUNCEMENT})"
        )
    try:
        said = json.loads(stamp.read_text())
        root = LabRoot(path, **said)
    except (ValueError, TypeError) as error:
        raise LabRootError(
            f"{stamp} is damaged ({error}): invoke setup --refresh"
        ) from None
    for needed in ("usr/bin/clang", "usr/sbin/bpftool", "usr/bin/qemu-system-x86_64"):
        if not (path / needed).exists():
            raise LabRootError(f"{path / needed} is gone: invoke setup --refresh")
    return root


def inside_env() -> dict[str, str]:
    return {"PATH": INSIDE_PATH, "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
