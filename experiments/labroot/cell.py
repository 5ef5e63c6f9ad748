# SPDX-License-Identifier: GPL-2.0-only
"""Run a program of the lab root where nothing of the machine is in its reach.

Sources that a program wrote are compiled here, and guests are run: what comes out of
either may have been made to harm. So a cell has namespaces of its own (user, mount,
PID, network, IPC, UTS, cgroup), one id that owns nothing, no capability and no way to
one, a root that is read-only, five devices, a /proc of its own processes alone, and
limits. It sees what `Bind` names, and writes where one says so. `_cell_main.py` builds
it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.labroot import lab_root
from experiments.model import Completed
from experiments.support import userns
from experiments.support.proc import CommandFailed, run

_MAIN = Path(__file__).with_name("_cell_main.py")
#: Nobody's: neither Debian nor systemd gives it to anyone. Of a user, who is root of a
#: user namespace, it is one of the ids in /etc/subuid.
_UID = 65533
#: More of what a program prints is not read.
_MOST_PRINTED = 64 << 20


@dataclass(frozen=True)
class Bind:
    """A file or directory `seen` of the machine, at `place` in the cell."""

    seen: Path
    place: str
    is_writable: bool = False


@dataclass(frozen=True)
class Limits:
    """Of each process but for ``processes`` (threads count) and ``tmp_mb`` (/tmp).

    None is no limit. The defaults are those of a compiler. With ``has_whole_proc`` it
    can read what /proc says of the machine.
    """

    processes: int = 128
    file_mb: int | None = 256
    memory_mb: int | None = 4096
    cpu_s: int | None = 300
    files: int | None = None
    tmp_mb: int = 512
    has_whole_proc: bool = False

    def rlimits(self) -> dict[str, int]:
        """Return the limits by the names of resource.h."""
        named = {
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_mb and self.file_mb << 20,
            "RLIMIT_AS": self.memory_mb and self.memory_mb << 20,
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_NOFILE": self.files,
        }
        return {name: most for name, most in named.items() if most is not None}


COMPILERS = Limits()


@dataclass(frozen=True)
class Plan:
    """What `_cell_main.py` is told; ``is_machine``: the root is made of the machine's
    own programs. It ends with the process ``starter``.
    """

    root: str
    is_machine: bool
    starter: int | None
    binds: tuple[tuple[str, str, bool], ...]
    limits: Mapping[str, int]
    tmp_mb: int
    has_whole_proc: bool
    uid: int
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: lab_root.inside_env())


def uid() -> int:
    """Return the id that programs in a cell have, in the user namespace outside it."""
    return _UID if not os.geteuid() else min(_UID, min(_given()) - 1)


def _given() -> list[int]:
    return [userns.most_ids(path) for path in userns.SUBIDS]


def command(
    root: Path,
    argv: Sequence[str | Path],
    binds: Sequence[Bind] = (),
    limits: Limits = COMPILERS,
) -> list[str]:
    """Return the command that runs `argv` in a cell of this root.

    Or with the machine's own programs, where it stands for a root. Descriptors that the
    command inherits stay open: that is how the program talks to others.
    """
    plan = Plan(
        root=str(root),
        is_machine=root == lab_root.machine(),
        starter=os.getpid(),
        binds=tuple((str(b.seen), b.place, b.is_writable) for b in binds),
        limits=limits.rlimits(),
        tmp_mb=limits.tmp_mb,
        has_whole_proc=limits.has_whole_proc,
        uid=uid(),
        argv=tuple(map(str, argv)),
    )
    main = (sys.executable, "-I", "-S", str(_MAIN))
    return [*userns.as_root(), *main, json.dumps(dataclasses.asdict(plan))]


def run_inside(
    root: Path,
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    binds: Sequence[Bind] = (),
    limits: Limits = COMPILERS,
    check: bool = True,
) -> Completed:
    """Run a command in a cell to its end; raises as proc.run does.

    What it prints goes to files, which the limits hold for, and is read up to a cap.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        words = command(root, argv, binds, limits)
        done = run(words, timeout_s=timeout_s, check=False, stdout=out, stderr=err)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(_MOST_PRINTED).decode(errors="replace"))
    done = dataclasses.replace(
        done, argv=tuple(map(str, argv)), stdout=texts[0], stderr=texts[1]
    )
    if check and done.returncode:
        raise CommandFailed(done, f"ended with status {done.returncode}")
    return done
