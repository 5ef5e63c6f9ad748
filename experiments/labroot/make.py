# SPDX-License-Identifier: GPL-2.0-only
"""Make the lab root with mmdebstrap, from the apt sites that the machine itself uses.

It is made beside its place and renamed into it, so a half-made one is never used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from experiments import paths
from experiments.errors import LabRootError, MissingRequirement
from experiments.labroot.cell import run_inside
from experiments.labroot.lab_root import (
    PACKAGES,
    STAMP,
    SUITE,
    LabRoot,
    key,
    lock,
    place,
    read_root,
)
from experiments.support import userns
from experiments.support.console import ReportStep
from experiments.support.locks import Held, Mode, hold
from experiments.support.proc import CommandFailed, end, last_lines, run, start

NEEDED_BYTES = 4 * 10**9
#: What the guest is handed is seen there.
_MOUNT_POINTS = ("share",)
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)


def make(report: ReportStep, refresh: bool = False) -> LabRoot:
    """Make the lab root unless it is there; with `refresh` make a new one in its stead.

    The old one stays in use until the new one is complete. Raises MissingRequirement
    when the machine lacks something, LabRootError when making fails.
    """
    userns.require()
    try:
        handle = hold(lock(), Mode.EXCLUSIVE)
    except Held:
        raise LabRootError(
            "another invoke is using or making the lab root: wait for it to end"
        ) from None
    try:
        return _make(report, refresh)
    finally:
        os.close(handle)


def _make(report: ReportStep, refresh: bool) -> LabRoot:
    path = place()
    if (path / STAMP).exists() and not refresh:
        return read_root()
    for stale in paths.cache_dir().glob(".labroot-*"):
        userns.remove(stale)
    _check_disk(paths.cache_dir())
    _require_mmdebstrap(report)
    beside = paths.cache_dir() / f".labroot-{key()}.{os.getpid()}"
    try:
        _debootstrap(beside, report)
        _finish(beside)
        old = paths.cache_dir() / f".labroot-old.{os.getpid()}"
        if path.exists():
            path.rename(old)
        try:
            beside.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
        userns.remove(old)
    finally:
        userns.remove(beside)
    return read_root()


def _check_disk(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < NEEDED_BYTES:
        raise MissingRequirement(
            f"{path} has {free / 1e9:.1f} GB free and the lab root needs "
            f"{NEEDED_BYTES / 1e9:.0f} GB while it is made: make room, or set "
            "XDG_CACHE_HOME to a larger disk"
        )


def _require_mmdebstrap(report: ReportStep) -> None:
    """Install mmdebstrap, a package of Debian and Ubuntu, where apt is."""
    if shutil.which("mmdebstrap"):
        return
    missing = MissingRequirement("no mmdebstrap: as root, apt-get install mmdebstrap")
    if shutil.which("apt-get") is None:
        raise MissingRequirement(
            "no mmdebstrap, and no apt-get to install it with: the lab root is made "
            "on Debian or a distribution derived from it"
        )
    if os.geteuid():
        raise missing
    report("mmdebstrap is missing: apt-get install mmdebstrap")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "-q", "update"], timeout_s=300, env=env)
        install = ["apt-get", "-qy", "--no-install-recommends", "install"]
        run([*install, "mmdebstrap"], timeout_s=600, env=env)
    except CommandFailed as error:
        raise missing from error


def _apt_setting(line: str) -> str | None:
    """Return a line of apt-config that also matters inside: how to reach the sites."""
    match = re.fullmatch(r'(Acquire::[^"]+?) "(.*)";', line)
    if match is None or not re.match(
        r"Acquire::(https?(::|$)|Check-Valid-Until|Retries)", match[1]
    ):
        return None
    return f'{match[1]} "{match[2]}"'


def _apt_site() -> str:
    """Return the site this machine's apt gets Debian from."""
    wanted = run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(LABEL)"], timeout_s=60
    ).stdout.splitlines()
    pairs = [line.split(" ", 1) for line in wanted if " " in line]
    sites = [site for site, label in pairs if label == "Debian"]
    sites += [site for site, _ in pairs if site.rstrip("/").endswith("/debian")]
    if not sites:
        raise MissingRequirement(
            "apt knows no Debian site: apt-get update, and see /etc/apt/sources.list"
        )
    return sites[0]


def _debootstrap(target: Path, report: ReportStep) -> None:
    keyring = next((k for k in KEYRINGS if k.exists()), None)
    if keyring is None:
        raise MissingRequirement(
            "no Debian archive keys: apt-get install debian-archive-keyring"
        )
    settings = run(["apt-config", "dump", "Acquire"], timeout_s=60).stdout
    passed = [s for line in settings.splitlines() if (s := _apt_setting(line))]
    site = _apt_site()
    argv = [
        *userns.unshare(),
        *("mmdebstrap", "--mode=root", "--variant=minbase"),
        '--aptopt=Apt::Install-Recommends "false"',
        '--aptopt=Acquire::Retries "3"',
        *(f"--aptopt={setting}" for setting in passed),
        *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "info")),
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--include={','.join(PACKAGES)}",
        *(SUITE, str(target), f"deb [signed-by={keyring}] {site} {SUITE} main"),
    ]
    log = paths.cache_dir() / "labroot.log"
    with log.open("wb") as file:
        # Without an initramfs: the guest needs none, and making one takes a while
        status = _follow(argv, file, report, {**os.environ, "INITRD": "No"})
    if status:
        tail = last_lines(log.read_text(errors="replace"), 8)
        raise LabRootError(
            f"mmdebstrap ended with status {status}; its last words (all in {log}):\n"
            f"{tail}\nCheck that `apt-get update` reaches its sites, then try again"
        )


def _follow(
    argv: Sequence[str], log: IO[bytes], report: ReportStep, env: Mapping[str, str]
) -> int:
    """Run a command, its output to `log`, its own lines of progress to `report`."""
    process = start(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    assert process.stdout is not None
    try:
        for raw in process.stdout:
            log.write(raw)
            if raw.startswith((b"I: ", b"E: ")):
                report(raw.decode(errors="replace").strip()[3:])
        return process.wait()
    finally:
        end(process)


def _finish(path: Path) -> None:
    """Add what setup has for a fresh root; the stamp comes last."""
    for name in _MOUNT_POINTS:
        (path / "lab" / name).mkdir(parents=True, exist_ok=True)
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n"]
    listed = run_inside(path, query, timeout_s=60).stdout.splitlines()
    packages = dict(line.split(" ", 1) for line in listed)
    root = LabRoot(path, key(), SUITE, packages)
    said = {k: v for k, v in dataclasses.asdict(root).items() if k != "path"}
    (path / STAMP).write_text(json.dumps(said, indent=1))
