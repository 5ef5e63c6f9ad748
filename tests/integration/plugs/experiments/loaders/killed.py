# SPDX-License-Identifier: GPL-2.0-only
"""Nothing is loaded in the end: processes that load the job's object are killed first.

Each at a random moment between the beginning of its load and some time after it. What
was seen of them are facts of the run.
"""

from __future__ import annotations

import contextlib
import random
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

from experiments.agent import protocol
from experiments.kernel import bpf, cgroup, sched_ext
from experiments.model import Job, LoadedScheduler
from experiments.registry import loader
from experiments.support.proc import start

_KILLS = 15
#: A busy machine takes longer to load than it did the first time: until some were
#: killed before and some after, there are more, each with more time.
_MOST_KILLS = 25
_BOTH = {"disabled", "enabled"}
_DEADLINE_S = 20.0
_POLL_S = 0.02
_MAP_GET_NEXT_ID = 12


def _map_ids() -> Iterator[int]:
    current = 0
    while True:
        attr = bpf._buffer(struct.pack("=I", current), 128)
        try:
            bpf.call(_MAP_GET_NEXT_ID, attr)
        except FileNotFoundError:
            return
        current = struct.unpack_from("=I", attr.raw, 4)[0]
        yield current


def _in_kernel() -> set[tuple[str, object]]:
    """Return programs, maps and pins, and the scheduler in charge."""
    return {
        *(("prog", number) for number in bpf.prog_ids()),
        *(("map", number) for number in _map_ids()),
        *(("pin", str(path)) for path in bpf.BPFFS.rglob("*")),
        ("state", sched_ext.status().state),
    }


def _wait_for(before: set[tuple[str, object]]) -> set[tuple[str, object]]:
    """Return what is there beyond `before`, once it is nothing or the time is up."""
    end = time.monotonic() + _DEADLINE_S
    while (left := _in_kernel() - before) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return left


def _kill_one(job: Job, after_s: float | None) -> tuple[float, str]:
    """Return how long it took to load, or 0, and the state that it was killed in."""
    file = job.out_dir / protocol.JOB_FILE
    file.write_text(protocol.job_text(job))
    argv = [sys.executable, "-m", __name__, str(file)]
    process = start(argv, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    try:
        process.stdout.readline()
        began = time.monotonic()
        if after_s is None:
            process.stdout.readline()
        else:
            time.sleep(after_s)
        return time.monotonic() - began, sched_ext.status().state
    finally:
        process.kill()
        process.communicate()
        _remove_group(cgroup.ROOT / f"scxlab-{job.spec.run_id}")


def _remove_group(path: Path) -> None:
    if path.exists():
        cgroup.kill(path)
        path.rmdir()


def _has_both(states: Sequence[str]) -> bool:
    return {*states} >= _BOTH or len(states) >= _MOST_KILLS


class KilledLoader:
    name = "killed"

    def missing(self, job: Job) -> Sequence[str]:
        return loader("scx").missing(job)

    @contextlib.contextmanager
    def loaded(self, job: Job) -> Iterator[LoadedScheduler]:
        before, dice = _in_kernel(), random.Random(job.spec.seed)
        load_s, _ = _kill_one(job, None)
        said: list[Any] = [sorted(_wait_for(before))]
        states: list[str] = []
        while len(states) < _KILLS or not _has_both(states):
            longest_s = 1.3 * load_s * 2 ** max(0, len(states) - _KILLS)
            _, state = _kill_one(job, dice.uniform(0.01 * load_s, longest_s))
            states.append(state)
            said.append(sorted(_wait_for(before)))
        facts = {"left": said, "killed_in": states}
        yield LoadedScheduler("", {}, None, facts)


LOADER = KilledLoader()


def main(path: Path) -> None:
    job = protocol.read_job(path, path.parent)
    print("begins", flush=True)
    with loader("scx").loaded(job):
        print("loaded", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
