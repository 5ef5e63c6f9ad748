# SPDX-License-Identifier: GPL-2.0-only
"""Root in namespaces of its own, where mounts and processes end with us.

Whoever is not root becomes it in a user namespace, with the user as root and the ids of
/etc/subuid as everybody else: enough to unpack a Debian and to enter it.
"""

from __future__ import annotations

import functools
import getpass
import os
import shutil
from pathlib import Path

from experiments.errors import MissingRequirement
from experiments.support.proc import last_lines, run

_AS_ROOT = ("--user", "--map-root-user", "--map-auto")
_SUBUID = (Path("/etc/subuid"), Path("/etc/subgid"))
_TIMEOUT_S = 20.0
_REMOVE_TIMEOUT_S = 300.0


def unshare(*options: str) -> list[str]:
    """What a command is preceded by; `options` are further ones of unshare."""
    return [
        *("unshare", *(_AS_ROOT if os.geteuid() else ())),
        *("--mount", "--pid", "--fork", "--kill-child"),
        *(*options, "--"),
    ]


def require() -> None:
    """Raises MissingRequirement naming what keeps a user from being root in there."""
    if os.geteuid() and (reason := refusal()):
        raise MissingRequirement(
            f"this needs root, or a user namespace with ids of your own; {reason}. Or "
            "run it with sudo (sudo -E keeps your cache directory)"
        )


@functools.cache
def refusal() -> str:
    """Why a user cannot be root in a namespace, and the remedy; empty when it works."""
    if shutil.which("newuidmap") is None:
        return "there is no newuidmap: as root, apt-get install uidmap"
    user = getpass.getuser()
    for path in _SUBUID:
        if not path.exists() or not _has_ids(path.read_text(), user):
            return (
                f"{user} has no ids in {path}: as root, usermod --add-subuids "
                f"100000-165535 --add-subgids 100000-165535 {user}"
            )
    done = run([*unshare(), "true"], timeout_s=_TIMEOUT_S, check=False)
    if not done.returncode:
        return ""
    return (
        f"the kernel or its policy forbids it ({last_lines(done.stderr, 1)}): see the "
        "sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and "
        "kernel.apparmor_restrict_unprivileged_userns"
    )


def _has_ids(text: str, user: str) -> bool:
    """Whether /etc/subuid gives the user any, by name or number."""
    owners = {line.split(":")[0] for line in text.splitlines()}
    return bool(owners & {user, str(os.getuid())})


def remove(path: Path) -> None:
    """A tree, in which files may belong to others than the user."""
    if not os.geteuid():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        argv = [*unshare(), "rm", "-rf", str(path)]
        run(argv, timeout_s=_REMOVE_TIMEOUT_S, check=False)
