# SPDX-License-Identifier: GPL-2.0-only
"""Root in namespaces of its own, where mounts and processes end with us.

Whoever is not root becomes it in a user namespace, with the user as root and the ids of
/etc/subuid as everybody else: enough to unpack a Debian and to enter it.
"""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import shutil
from pathlib import Path

from experiments.errors import MissingRequirement
from experiments.support.proc import last_lines, run

_AS_ROOT = ("--user", "--map-root-user", "--map-auto")
SUBIDS = (Path("/etc/subuid"), Path("/etc/subgid"))
_TIMEOUT_S = 20.0
_OLDEST = (5, 12)
_REMOVE_TIMEOUT_S = 300.0


def as_root() -> list[str]:
    """Return what makes a command run as root, if only of a user namespace."""
    return ["unshare", *_AS_ROOT, "--"] if os.geteuid() else []


def unshare(*options: str) -> list[str]:
    """Return what a command is preceded by; `options` are further ones of unshare."""
    return [
        *("unshare", *(_AS_ROOT if os.geteuid() else ())),
        *("--mount", "--pid", "--fork", "--kill-child"),
        *(*options, "--"),
    ]


def too_old(release: str) -> str:
    """Return why programs cannot be walled in on a kernel of this release, or nothing.

    mount_setattr(2) is of Linux 5.12, /proc with processes alone of 5.8.
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None or (int(found[1]), int(found[2])) >= _OLDEST:
        return ""
    return f"this kernel is Linux {release}, and 5.12 or later is needed: update it"


def require() -> None:
    """Raise MissingRequirement naming what keeps a user from being root in there."""
    if reason := too_old(platform.release()):
        raise MissingRequirement(reason)
    if os.geteuid() and (reason := refusal()):
        raise MissingRequirement(
            f"this needs root, or a user namespace with ids of your own; {reason}. Or "
            "run it with sudo (sudo -E keeps your cache directory)"
        )


@functools.cache
def refusal() -> str:
    """Return why a user cannot be root in a namespace, and the remedy.

    Empty when it works.
    """
    if shutil.which("newuidmap") is None:
        return "there is no newuidmap: as root, apt-get install uidmap"
    user = getpass.getuser()
    for path in SUBIDS:
        if not most_ids(path):
            return (
                f"{user} has no ids in {path}: as root, usermod --add-subuids "
                f"100000-165535 --add-subgids 100000-165535 {user}"
            )
    if not (said := denial()):
        return ""
    return (
        f"the kernel or its policy forbids it ({said}): see the "
        "sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and "
        "kernel.apparmor_restrict_unprivileged_userns"
    )


def most_ids(file: Path) -> int:
    """Return how many ids the longest range has that `file` gives the user.

    A file like /etc/subuid knows users by name or number; 0 where it gives none.
    """
    lines = file.read_text().splitlines() if file.exists() else []
    rows = (line.split(":") for line in lines)
    mine = (getpass.getuser(), str(os.geteuid()))
    return max((int(r[2]) for r in rows if len(r) == 3 and r[0] in mine), default=0)


def denial() -> str:
    """Return what the kernel says when it refuses a user namespace, or nothing.

    Root needs no ids of /etc/subuid for one.
    """
    maps = _AS_ROOT if os.geteuid() else _AS_ROOT[:-1]
    argv = ["unshare", *maps, "--mount", "--pid", "--fork", "--kill-child", "true"]
    done = run(argv, timeout_s=_TIMEOUT_S, check=False)
    if not done.returncode:
        return ""
    return last_lines(done.stderr, 1) or f"unshare ended with status {done.returncode}"


def remove(path: Path) -> None:
    """Remove a tree, in which files may belong to others than the user."""
    if not os.geteuid():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        argv = [*unshare(), "rm", "-rf", str(path)]
        run(argv, timeout_s=_REMOVE_TIMEOUT_S, check=False)
