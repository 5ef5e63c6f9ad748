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

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import paths
from experiments.errors import LabRootError, MissingRequirement
from experiments.model import Completed, digest
from experiments.support import proc, userns
from experiments.support.locks import LOCK, Held, Mode, hold
from experiments.support.proc import run

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
_LAYOUT = 3
#: The first process of a guest.
GUEST_INIT = Path(__file__).with_name("guest_init.sh")

ANNOUNCEMENT = "downloads about 400 MB, takes 1.5 GB on disk and 2 to 6 minutes"

INSIDE_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
STAMP = "lab/labroot.json"

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
    """Return what changes with whatever `invoke setup` puts into a root."""
    parts = [SUITE, sorted(PACKAGES), _LAYOUT, GUEST_INIT.read_text()]
    return digest(parts)[:12]


def place() -> Path:
    return paths.cache_dir() / f"labroot-{key()}"


def machine() -> Path:
    """Return where the machine is entered as if it were a lab root."""
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


def enter(
    root: Path, argv: Sequence[str | Path], binds: Mapping[str, Path] | None = None
) -> list[str]:
    """Return the command that runs `argv` inside the root.

    Or with the machine's own tools, where it stands for a root.

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
