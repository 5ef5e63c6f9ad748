# SPDX-License-Identifier: GPL-2.0-only
"""Who called us: whom a workload on this machine runs as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from experiments.model import NOBODY, User

#: The largest number is that of no user at all.
_NONE = 2**32 - 1


def user(env: Mapping[str, str] = os.environ) -> User:
    """Return the user who called sudo, and nobody where there is none.

    Never root, nor a number that this machine does not know.
    """
    uid, gid = (_number(env.get(name, "")) for name in ("SUDO_UID", "SUDO_GID"))
    if uid is None or gid is None:
        return NOBODY
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return NOBODY
    return User(uid, gid)


def _number(text: str) -> int | None:
    """Return a number that is not root's; None for anything else."""
    if not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if 0 < int(text) < _NONE else None
