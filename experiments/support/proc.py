# SPDX-License-Identifier: GPL-2.0-only
"""Starting and ending processes: the only user of subprocess.

Every process leads a session of its own, so that a group can be ended as a whole, and
gets a signal, SIGKILL if nothing else was asked for, when the thread that started it
dies, so that nothing outlives us but what has to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from experiments.errors import ExperimentError
from experiments.model import Completed, User

_GRACE_S = 5.0


class CommandFailed(ExperimentError):
    """A command ended with another status than 0, or did not end in time."""

    def __init__(self, done: Completed, why: str) -> None:
        self.done = done
        tail = last_lines(done.stderr or done.stdout, 12)
        super().__init__(f"{done.argv[0]}: {why}" + (f"\n{tail}" if tail else ""))


def last_lines(text: str, count: int) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


#: Run by sh in the new process, while it may still write there: $1 is the group.
_ENTER = 'echo 0 > "$1/cgroup.procs"; shift; exec "$@"'
#: $1 is the starter: one that died before the signal was set would not be noticed.
_WITH_STARTER = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'


def _launcher(
    argv: Sequence[str],
    cgroup: Path | None,
    death_signal: str | None,
    user: User | None,
    capabilities: Sequence[str],
) -> list[str]:
    """Return `argv` with what has to happen before it in the same process.

    By programs and not by preexec_fn, which forks an interpreter that has threads.
    """
    enter = ["sh", "-ec", _ENTER, "enter", str(cgroup)] if cgroup else []
    # The kernel forgets the signal when the user changes, so setpriv sets it after that
    drop = _dropped(user, capabilities) if user else []
    if death_signal is None:
        return [*enter, *(["setpriv", *drop, "--"] if drop else []), *argv]
    return [
        *enter,
        *("setpriv", "--pdeathsig", death_signal, *drop, "--"),
        *("sh", "-ec", _WITH_STARTER, "launch", str(os.getpid())),
        *argv,
    ]


def _dropped(user: User, capabilities: Sequence[str]) -> list[str]:
    """Return the words to setpriv that make a process `user`, for good."""
    only = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return [
        *(f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"),
        *("--no-new-privs", f"--bounding-set={only}"),
        *(f"--inh-caps={only}", f"--ambient-caps={only}"),
    ]


def start(
    argv: Sequence[str | Path],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    cgroup: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    death_signal: str | None = "KILL",
    pass_fds: Sequence[int] = (),
    user: User | None = None,
    capabilities: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a process, in `cgroup` from its first instruction on.

    `death_signal` is what it gets when we die: TERM for one that has to clean up, None
    for one that is to outlive us. `pass_fds` are descriptors that it gets beside the
    first three. A `user` has no privileges but these `capabilities` (by the names of
    capabilities(7), without the prefix), and gets no others whatever it runs; it takes
    root to start one.

    Raises FileNotFoundError when there is no such program.
    """
    words = [str(a) for a in argv]
    path = (env or os.environ).get("PATH")
    if shutil.which(words[0], path=path) is None:
        raise FileNotFoundError(f"no program {words[0]}")
    return subprocess.Popen(
        _launcher(words, cgroup, death_signal, user, capabilities),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], grace_s: float = _GRACE_S) -> int:
    """End a process and its session: SIGTERM, then SIGKILL after `grace_s`."""
    for sig, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
    return process.wait()


def killed_by(process: subprocess.Popen[bytes], wait_s: float = 1.0) -> str:
    """Return the name of the signal that ended a process; empty if none did.

    One that is about to end is waited for.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
    code = process.poll()
    return signal.Signals(-code).name if code is not None and code < 0 else ""


def foreground(argv: Sequence[str | Path], cwd: Path) -> int:
    """Run a command whose output is for the user to see; its exit status."""
    process = start(
        argv, stdout=sys.stdout.fileno(), stderr=sys.stderr.fileno(), cwd=cwd
    )
    try:
        return process.wait()
    finally:
        end(process)


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    check: bool = True,
    stdin: bytes = b"",
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    cgroup: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command to its end; what it prints is returned, unless files get it.

    Raises CommandFailed when it takes longer than `timeout_s`, and, with `check`, when
    its status is not 0.
    """
    began = time.monotonic()
    process = start(
        argv,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cgroup=cgroup,
        cwd=cwd,
        env=env,
    )
    late = False
    try:
        out, err = process.communicate(stdin, timeout_s)
    except subprocess.TimeoutExpired:
        late = True
        end(process, grace_s=0.5)
        out, err = process.communicate()
    except BaseException:
        end(process)
        raise
    done = Completed(
        tuple(str(a) for a in argv),
        process.returncode,
        (out or b"").decode(errors="replace"),
        (err or b"").decode(errors="replace"),
        time.monotonic() - began,
    )
    if late:
        raise CommandFailed(done, f"did not end within {timeout_s:g} s")
    if check and done.returncode:
        raise CommandFailed(done, f"ended with status {done.returncode}")
    return done
