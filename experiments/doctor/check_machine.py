# SPDX-License-Identifier: GPL-2.0-only
"""The machine itself: processor and memory, disk, user, tools, clocks."""

from __future__ import annotations

import datetime
import getpass
import itertools
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from experiments import paths
from experiments.doctor import check_packages
from experiments.doctor.check import Answer, Check, broken, found, missing
from experiments.kernel import clock
from experiments.labroot import lab_root, make
from experiments.plan.config import load_config
from experiments.support import userns

_GB = 10**9
#: What the cache needs beyond a lab root that is there: vmlinux and vmlinux.h of two
#: kernels. What results need: a night of runs, which leave 15 kB each.
_CACHE_BYTES = _GB // 2
_RESULTS_BYTES = _GB // 2
_MB = 1 << 20

#: Of util-linux and coreutils: labroot.enter and proc.start call them.
_TOOLS = ("unshare", "setpriv", "mount", "chroot", "sh")
_SUBIDS = 65536
#: Reading them takes a microsecond and more, and each sample and switch does.
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
_READINGS = 1000
_SLACK_S = 2.0  # of file systems' time stamps


def checks() -> list[Check]:
    return [
        Check("python", "every command", check_packages.python),
        Check("packages", "every command", check_packages.runtime),
        Check("config.yaml", "run, build", _config),
        Check("machine", "run: the guest", _machine),
        Check("user", "setup, build, run", _user),
        Check("tools", "setup, build, run", _tools),
        Check("disk: cache", "setup, build, run", _cache_disk),
        Check("disk: results", "run, aggregate", _results_disk),
        Check("clock", "run: every sample", _clock),
    ]


def optional_checks() -> list[Check]:
    return [
        Check("time of day", "setup, aggregate", _time_of_day, required=False),
        Check(
            "user namespaces",
            "setup, run without root",
            user_namespaces,
            required=False,
        ),
        Check(
            "test packages", "test, lint", check_packages.development, required=False
        ),
    ]


def _config() -> Answer:
    load_config()
    return found("it is in order")


def _machine() -> Answer:
    if platform.machine() != "x86_64":
        return broken(f"{platform.machine()}", "take an x86-64 machine")
    wanted = load_config().vm.memory_mb
    there = psutil.virtual_memory().available // _MB
    words = f"{os.cpu_count()} CPUs, {there:,} MB of memory free"
    if there < wanted:
        return broken(
            f"{words}; vm.memory_mb in config.yaml is {wanted:,}",
            "end what takes the memory, or lower vm.memory_mb in config.yaml",
        )
    return found(words)


def _user() -> Answer:
    name = getpass.getuser()
    if reason := userns.too_old(platform.release()):
        return broken(reason, "boot a later kernel")
    if os.geteuid() == 0:
        if not (said := userns.denial()):
            return found("root")
        remedy = (
            "sysctl -w user.max_user_namespaces=10000; in a container, --privileged"
        )
        return broken(f"root, who can make no user namespace: {said}", remedy)
    if reason := userns.refusal():
        words = f"{name}, who cannot be root in a user namespace: {reason}"
        return missing(words, 'sudo -E env PATH="$PATH" invoke ...')
    return found(f"{name}, root in a user namespace")


def _tools() -> Answer:
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return missing(f"no {', '.join(absent)}", "apt-get install util-linux mount")
    return found(", ".join(_TOOLS))


def _cache_disk() -> Answer:
    has_root = lab_root.place().exists()
    wanted = _CACHE_BYTES if has_root else make.NEEDED_BYTES
    remedy = "make room, or set XDG_CACHE_HOME to a larger disk"
    return _disk(paths.cache_dir(), wanted, remedy)


def _results_disk() -> Answer:
    return _disk(paths.RESULTS, _RESULTS_BYTES, "make room")


def _disk(path: Path, wanted: int, remedy: str) -> Answer:
    there = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(there).free
    words = f"{path}: {free / _GB:.1f} GB free"
    if free < wanted:
        return broken(f"{words}, {wanted / _GB:.1f} GB are needed", remedy)
    if not os.access(there, os.W_OK):
        return broken(f"{there} may not be written to", f"chown $USER {there}")
    return found(words)


def user_namespaces() -> Answer:
    """Return whether mmdebstrap's mode unshare would work, and we without root."""
    if absent := [t for t in ("newuidmap", "newgidmap") if shutil.which(t) is None]:
        return missing(f"no {', '.join(absent)}", "apt-get install uidmap")
    if os.geteuid() != 0:
        name = getpass.getuser()
        for file in userns.SUBIDS:
            if userns.most_ids(file) < _SUBIDS:
                return missing(
                    f"{file} has no {_SUBIDS} ids for {name}",
                    f"sudo usermod --add-subuids 100000-165535 "
                    f"--add-subgids 100000-165535 {name}",
                )
    if said := userns.denial():
        return broken(said, _userns_remedy())
    return found("they work (tried)")


#: Switches that forbid user namespaces: file below /proc/sys, value that does, what to
#: type. Debian had the second, Ubuntu has the third.
_FORBIDS = (
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
PROC_SYS = Path("/proc/sys")


def _userns_remedy() -> str:
    for name, forbidding, remedy in _FORBIDS:
        file = PROC_SYS / name
        if file.exists() and file.read_text().strip() == forbidding:
            return f"sudo {remedy}"
    return "run as root; a container has to allow it itself"


def _clock() -> Answer:
    readings = [time.monotonic_ns() for _ in range(_READINGS)]
    if any(b < a for a, b in itertools.pairwise(readings)):
        return broken("the monotonic clock goes backwards", "take another machine")
    name = clock.source() or "unknown"
    step = time.get_clock_info("monotonic").resolution * 1e9
    if name in _SLOW_CLOCKS:
        return broken(
            f"clocksource {name}: slow to read, samples cost more",
            "boot with tsc=reliable if the kernel log says why tsc was given up",
        )
    return found(f"monotonic, clocksource {name}, steps of {step:g} ns")


def _time_of_day() -> Answer:
    now = time.time()
    today = datetime.datetime.fromtimestamp(now).isoformat(" ", "minutes")
    set_it = "timedatectl set-ntp true"
    if (made := (paths.PROJECT / "pyproject.toml").stat().st_mtime) > now + _SLACK_S:
        words = datetime.datetime.fromtimestamp(made).isoformat(" ", "minutes")
        return broken(f"it is {today}, and this checkout is from {words}", set_it)
    if future := list(in_future(paths.RESULTS, now)):
        return broken(
            f"{len(future)} files in results/ are from the future, {future[0]} first: "
            "`aggregate` would not take the newest experiment",
            f"{set_it}; find results -newermt now -exec touch {{}} +",
        )
    is_set = clock.is_synchronised()
    return found(f"{today}, {'' if is_set else 'NOT '}kept by NTP or the like")


def in_future(folder: Path, now: float) -> Iterator[Path]:
    """Yield files below `folder` that were changed after `now` (s since 1970)."""
    for top, _, names in os.walk(folder):
        yield from _later(Path(top), sorted(names), now + _SLACK_S)


def _later(folder: Path, names: Sequence[str], now: float) -> Iterator[Path]:
    for name in names:
        path = folder / name
        if path.lstat().st_mtime > now:
            yield path.relative_to(paths.RESULTS)
