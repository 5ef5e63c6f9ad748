# SPDX-License-Identifier: GPL-2.0-only
"""The lab root: one Debian suite, unpacked as a directory in the user's cache.

It supplies the kernel, its headers, compilers, tools, workloads, QEMU and virtiofsd,
so that builds and guests do not depend on the userspace of the machine. mmdebstrap
makes it from the apt sites that the machine itself uses. It is made beside its place
and renamed into it, so a half-made one is never used, and keyed by its packages.

Programs of the root run in a chroot within mount and PID namespaces of their own: when
they end, or we do, nothing of them stays mounted or running.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from experiments import paths
from experiments.errors import LabRootError, MissingRequirement
from experiments.model import Completed, digest
from experiments.support import proc, userns
from experiments.support.console import Report
from experiments.support.locks import LOCK, Held, Mode, hold
from experiments.support.proc import CommandFailed, end, last_lines, run, start

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
_LAYOUT = 2

NEEDED_BYTES = 4 * 10**9
ANNOUNCEMENT = "downloads about 400 MB, takes 1.5 GB on disk and 2 to 6 minutes"

INSIDE_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_STAMP = "lab/labroot.json"
_MOUNT_POINTS = ("src", "build", "run", "share", "guestroot", "kernels")
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)

_INIT = """\
#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The first process of a guest: mounts what the agent needs and becomes its keeper.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# A root that a user has made has an empty /dev, not even null
[ -c /dev/ttyS1 ] || mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8
mount -t virtiofs share /lab/share && cd /lab/share/.stage/code &&
	python3 -B -m experiments.agent /dev/ttyS1
echo "scxlab: the agent ended with status $?"
# RB_POWER_OFF of reboot(2): minimal roots have no poweroff
exec python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
"""

#: For the machine's own tools: its directories are seen in the root, too, which is
#: made up in memory.
_MIRROR = """\
mkdir -p "$1"
mount -t tmpfs -o mode=755 tmpfs "$1"
for entry in /*; do
	if [ -L "$entry" ]; then
		cp -P "$entry" "$1/"
	elif [ -d "$entry" ] && [ "$entry" != /lab ]; then
		mkdir "$1$entry"
		mount --rbind "$entry" "$1$entry"
	fi
done
"""

#: unshare dies of what its program died of; up to util-linux 2.38 it fails to do so
#: after SIGKILL, and says this.
_UNSHARE_AFTER_SIGKILL = "unshare: sigprocmask unblock failed"

_ENTER = """\
root=$1; shift
while [ "$1" != -- ]; do
	[ -d "$root$2" ] || mkdir -p "$root$2"
	mount --bind "$1" "$root$2"
	shift 2
done
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
"""


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
    return digest([SUITE, sorted(PACKAGES), _LAYOUT])[:12]


def place() -> Path:
    return paths.cache_dir() / f"labroot-{key()}"


def machine() -> Path:
    """Where the machine's own directories are entered as if they were a lab root."""
    return paths.cache_dir() / "machine"


def is_made() -> bool:
    return (place() / _STAMP).exists()


def lock() -> Path:
    """Return the lock of the cache: shared while its root is used, else for its maker.

    Nobody signs it: a name that a dead maker left would be taken for that of a user.
    """
    return paths.cache_dir() / LOCK


def open_root() -> LabRoot:
    """The lab root, checked; MissingRequirement when it has to be made first.

    It cannot be replaced until this process ends.
    """
    userns.require()
    try:
        hold(lock(), Mode.SHARED)
    except Held:
        raise LabRootError(
            "another invoke is making the lab root: wait for it"
        ) from None
    return read_root()


def read_root() -> LabRoot:
    """The lab root without its lock, to look at: it may be replaced meanwhile."""
    path = place()
    stamp = path / _STAMP
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


def enter(
    root: Path, argv: Sequence[str | Path], binds: Mapping[str, Path] | None = None
) -> list[str]:
    """The command that runs `argv` inside the root, or with the machine's own tools.

    `binds` maps directories of the root to those of the machine seen there.
    """
    pairs = [str(p) for place, seen in (binds or {}).items() for p in (seen, place)]
    script = _MIRROR + _ENTER if root == machine() else _ENTER
    return [
        *userns.unshare("--propagation", "private"),
        *("sh", "-ec", script, "enter", str(root), *pairs, "--"),
        *(str(a) for a in argv),
    ]


def killed_by(process: subprocess.Popen[bytes], said: str) -> str:
    """Return the name of the signal that ended a program of the root; empty if none.

    `process` was started with `enter`, `said` is what came on its stderr.
    """
    name = proc.killed_by(process)
    return "SIGKILL" if not name and _UNSHARE_AFTER_SIGKILL in said else name


def inside_env() -> dict[str, str]:
    return {"PATH": INSIDE_PATH, "HOME": "/tmp", "LC_ALL": "C.UTF-8"}


def run_inside(
    root: Path,
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    binds: Mapping[str, Path] | None = None,
    check: bool = True,
) -> Completed:
    """Run a command of the root to its end; raises as proc.run does."""
    return run(
        enter(root, argv, binds), timeout_s=timeout_s, check=check, env=inside_env()
    )


# --- making one -----------------------------------------------------------------------


def make(report: Report, refresh: bool = False) -> LabRoot:
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


def _make(report: Report, refresh: bool) -> LabRoot:
    path = place()
    if (path / _STAMP).exists() and not refresh:
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


def _require_mmdebstrap(report: Report) -> None:
    """mmdebstrap is one package of Debian and Ubuntu; install it where apt is."""
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
    """A line of apt-config that also matters inside: how to reach the sites."""
    match = re.fullmatch(r'(Acquire::[^"]+?) "(.*)";', line)
    if match is None or not re.match(
        r"Acquire::(https?(::|$)|Check-Valid-Until|Retries)", match[1]
    ):
        return None
    return f'{match[1]} "{match[2]}"'


def _apt_site() -> str:
    """The site this machine's apt gets Debian from."""
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


def _debootstrap(target: Path, report: Report) -> None:
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
    argv: Sequence[str], log: IO[bytes], report: Report, env: Mapping[str, str]
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
    """What setup adds to a fresh root; the stamp comes last."""
    for name in _MOUNT_POINTS:
        (path / "lab" / name).mkdir(parents=True, exist_ok=True)
    init = path / "lab/init"
    init.write_text(_INIT)
    init.chmod(0o755)
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n"]
    listed = run_inside(path, query, timeout_s=60).stdout.splitlines()
    packages = dict(line.split(" ", 1) for line in listed)
    root = LabRoot(path, key(), SUITE, packages)
    said = {k: v for k, v in dataclasses.asdict(root).items() if k != "path"}
    (path / _STAMP).write_text(json.dumps(said, indent=1))
