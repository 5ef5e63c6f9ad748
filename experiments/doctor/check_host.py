# SPDX-License-Identifier: GPL-2.0-only
"""The kernel of this machine and its tools: for `--backend host` alone."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from experiments import paths, registry
from experiments.doctor.check import Answer, Check, broken, found, missing
from experiments.kernel import cgroup, libbpf, sched_ext
from experiments.kernel.bpf import BPFFS

_FOR = "--backend host"
_BTF = Path("/sys/kernel/btf/vmlinux")
_TRACEFS = Path("/sys/kernel/tracing")
_FIRST = (6, 12)  # the first Linux with sched_ext
_NEWER = "boot a kernel with SCHED_CLASS_EXT and DEBUG_INFO_BTF, or keep to the VM"


def optional_checks() -> list[Check]:
    looks: list[tuple[str, Callable[[], Answer]]] = [
        ("host kernel", _kernel),
        ("host BTF", _btf),
        ("host sched_ext", _sched_ext),
        ("host bpffs", _bpffs),
        ("host tracefs", _tracefs),
        ("host cgroup2", _cgroup2),
        ("host bpftool", _bpftool),
        ("host libbpf", _libbpf),
        ("host workloads", _workloads),
    ]
    return [Check(name, _FOR, look, required=False) for name, look in looks]


def _kernel() -> Answer:
    release = platform.release()
    numbers = release.split("-")[0].split(".")[:2]
    version = tuple(int(n) for n in numbers if n.isdigit())
    if version < _FIRST:
        return broken(f"{release}: sched_ext came with 6.12", _NEWER)
    return found(release)


def _btf() -> Answer:
    if not _BTF.exists():
        return missing(f"no {_BTF} (CONFIG_DEBUG_INFO_BTF)", _NEWER)
    return found(f"{_BTF}, {_BTF.stat().st_size / 1e6:.1f} MB")


def _sched_ext() -> Answer:
    if not sched_ext.available():
        return missing(f"no {sched_ext.SYSFS} (CONFIG_SCHED_CLASS_EXT)", _NEWER)
    status = sched_ext.status()
    if status.ops:
        return broken(
            f"the scheduler {status.ops!r} is loaded", "end the program that loaded it"
        )
    return found(f"state {status.state}")


def _mounted(path: Path, kind: str) -> Answer:
    if os.path.ismount(path):
        return found(f"{kind} at {path}")
    return missing(f"no {kind} at {path}", f"mount -t {kind} {kind} {path}")


def _bpffs() -> Answer:
    return _mounted(BPFFS, "bpf")


def _tracefs() -> Answer:
    return _mounted(_TRACEFS, "tracefs")


def _cgroup2() -> Answer:
    if not cgroup.available():
        return missing(
            f"no cgroup2 at {cgroup.ROOT}",
            "boot with systemd.unified_cgroup_hierarchy=1",
        )
    controllers = (cgroup.ROOT / "cgroup.controllers").read_text().split()
    for name in ("memory", "pids"):
        if name not in controllers:
            return broken(
                f"cgroup2 at {cgroup.ROOT} without its {name} controller",
                f"boot without cgroup_disable={name}, and with all of v1 unmounted",
            )
    return found(f"cgroup2 at {cgroup.ROOT}, with memory and pids")


def _bpftool() -> Answer:
    if (path := shutil.which("bpftool")) is None:
        return missing("it is not in PATH", "apt-get install bpftool")
    return found(path)


def _libbpf() -> Answer:
    try:
        library = libbpf.open_library()
    except OSError as error:
        return missing(str(error), libbpf.REMEDY)
    return found(f"{libbpf.NAME} {'.'.join(map(str, libbpf.version(library)))}")


def _workloads() -> Answer:
    """Return what the workloads themselves say that they lack."""
    names = registry.names("workload")
    reasons = [r for n in names for r in registry.workload(n).missing(paths.BIN)]
    if not reasons:
        return found(", ".join(names))
    halves = [reason.partition(": ") for reason in reasons]
    remedies = "; ".join(remedy for _, _, remedy in halves)
    return missing("; ".join(what for what, _, _ in halves), remedies)
