# SPDX-License-Identifier: GPL-2.0-only
"""A process that puts this machine back as it was when its experiment is killed.

Nothing can be done by one that got SIGKILL. So before anything is changed, the runner
starts this one, with a pipe that the kernel closes however the runner ends. An orderly
end says so through it. It is in a session of its own, so what ends the runner's session
or process group, as a closed terminal, does not end it; it keeps nothing open that the
runner was given, so nobody waits for it. What it did is in its log.

What also kills this one, as the end of a service with all its processes, leaves the
machine to the next command, or to `invoke system reset`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO

from experiments import paths
from experiments.errors import ExperimentError
from experiments.machine import stale_state, tuning
from experiments.support.proc import start

LOG = tuning.RUN_DIR / "watchdog.log"
#: Said through the pipe by a runner that has put everything back itself.
_IN_ORDER = b"in order\n"
#: It may be starting still.
_END_S = 10.0


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """A watchdog while the block runs; whoever enters it holds the lock of tuning."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("wb") as log:
        process = start(
            [sys.executable, "-B", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=paths.PROJECT,
            death_signal=None,
        )
    assert process.stdin is not None
    try:
        yield
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(_IN_ORDER)
            process.stdin.flush()
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)


def watch(runner: IO[bytes], restore: Callable[[], list[str]]) -> list[str]:
    """Wait until the runner has ended; restore unless it has. What was done."""
    return [] if runner.read() == _IN_ORDER else restore()


def _restore() -> list[str]:
    """Take away what the runner has left, and put back its settings."""
    own = tuning.Tuning()
    try:
        with own.held(tuning.RESTORING):
            return [*stale_state.clean(), *own.restore(tuning.OF_RUN)]
    except ExperimentError as error:
        # Whoever has the lock restores it, too
        return [str(error)]


def main() -> None:
    os.chdir("/")
    for each in (signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    for words in watch(sys.stdin.buffer, _restore):
        print(f"{time.strftime('%F %T')} {words}", flush=True)


if __name__ == "__main__":
    main()
