# SPDX-License-Identifier: GPL-2.0-only
"""Keep a workload going for its time, and sample at absolute deadlines meanwhile.

One thread: it sleeps until the next sample is due or a process of the workload has
ended, whichever comes first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import select
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import IO, Any

from experiments.agent import load_user
from experiments.agent.sample_clock import Deadlines
from experiments.columns import CSV_COLUMNS
from experiments.kernel import cgroup
from experiments.model import Job, Metric, Outcome, Round, RunSpec, Sample, User
from experiments.plugins import Workload
from experiments.support.proc import end, last_lines, start

#: How long a sustained workload may take to end after its time is up.
END_GRACE_S = 10.0
#: A sustained workload that ends earlier than this share of its time has failed.
_EARLIEST_END = 0.9
_THREADS_ASKED = 32
#: By all rounds of a run: it is kept in memory until their metrics are read.
_MOST_PRINTED = 32 << 20


class RunEnded(Exception):
    """The run is over with another outcome than OK."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


@dataclass
class Evidence:
    """What a run has gathered so far; it is kept whatever becomes of the run."""

    columns: tuple[str, ...] = CSV_COLUMNS
    samples: list[Sample] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    proof: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)  # of the samplers
    stacks: str = ""  # of the workload's threads, once the scheduler was ejected


def workload_threads(spec: RunSpec) -> list[int]:
    """Return some thread ids of the workload that runs now.

    Few, as asking costs time.
    """
    try:
        group = cgroup.workload_group(spec.run_id)
        tids = (group / "cgroup.threads").read_text().split()
    except OSError:
        return []
    return [int(tid) for tid in tids[:_THREADS_ASKED]]


def drive(
    job: Job, workload: Workload, evidence: Evidence, sample: Callable[[float], None]
) -> None:
    """Keep the workload going for the whole duration, and sample at the deadlines."""
    spec = job.spec
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((job.out_dir / "workload.log").open("wb"))
        bin_dir = stack.enter_context(load_user.reachable(job.bin_dir, job.user))
        argv = workload.argv(spec, bin_dir)
        group = stack.enter_context(_group(spec, evidence))
        evidence.facts["load_user"] = dataclasses.asdict(job.user)
        privileges = load_user.capabilities(workload)
        begin = functools.partial(_start, argv, group, job.user, privileges)
        rounds = _Rounds(argv[0], begin, log, evidence.rounds)
        stack.callback(rounds.close)
        if group is not None:
            stack.callback(cgroup.kill, group)
        clock = Deadlines(spec.duration_s, spec.sample_interval_s)
        with _bounds_explained(group):
            _until_over(clock, rounds, workload, spec, sample)
        evidence.facts |= clock.facts()
        if group is not None:
            evidence.facts["load_cpu_s"] = cgroup.cpu_s(group)
        if workload.sustained and rounds.running:
            rounds.wait(END_GRACE_S)
            if rounds.running:
                raise RunEnded(
                    Outcome.TIMEOUT,
                    f"{argv[0]} still ran {END_GRACE_S:g} s after its time was up",
                )


@contextlib.contextmanager
def _group(spec: RunSpec, evidence: Evidence) -> Iterator[Path | None]:
    """The bounded group of the workload, where there are groups."""
    if not cgroup.available():
        yield None
        return
    with cgroup.group(cgroup.workload_group(spec.run_id).name) as group:
        evidence.facts["load_bounds"] = load_user.bind(group, load_user.bounds())
        yield group


def _start(
    argv: Sequence[str],
    group: Path | None,
    user: User,
    privileges: Sequence[str],
    output: IO[bytes],
) -> Popen[bytes]:
    return start(
        argv,
        stdout=output,
        stderr=STDOUT,
        cgroup=group,
        cwd=load_user.HOME,
        env=load_user.env(),
        user=user,
        capabilities=privileges,
    )


@contextlib.contextmanager
def _bounds_explained(group: Path | None) -> Iterator[None]:
    """A run whose workload met a bound is not OK, and says which."""
    try:
        yield
    except RunEnded as ended:
        if words := load_user.met(group):
            raise RunEnded(ended.outcome, f"{words}: {ended}") from None
        raise
    if words := load_user.met(group):
        raise RunEnded(Outcome.FAILED, words)


def _until_over(
    clock: Deadlines,
    rounds: _Rounds,
    workload: Workload,
    spec: RunSpec,
    sample: Callable[[float], None],
) -> None:
    """Sample at the deadlines, the last one included, and keep rounds going between.

    One sample at a time, as it may take longer than the interval.
    """
    while True:
        over = clock.over()
        if (due := clock.due()) is not None:
            sample(due)
        if over:
            break
        if not rounds.running and not (workload.sustained and rounds.done):
            rounds.begin()
        rounds.wait(clock.next_in_s())
        if workload.sustained and rounds.done:
            _check_lasted(rounds.done[0], spec)


def _check_lasted(done: Round, spec: RunSpec) -> None:
    if done.wall_s < _EARLIEST_END * spec.duration_s:
        raise RunEnded(
            Outcome.FAILED,
            f"{spec.workload} ended after {done.wall_s:.1f} s of {spec.duration_s} s:\n"
            f"{last_lines(done.output, 8)}",
        )


class _Rounds:
    """The processes of a workload, one at a time."""

    def __init__(
        self,
        name: str,
        start_one: Callable[[IO[bytes]], Popen[bytes]],
        log: io.BufferedWriter,
        done: list[Round],
    ) -> None:
        self._name = name
        self._start_one = start_one
        self._log = log
        self.done = done
        self._process: Popen[bytes] | None = None
        self._room = _MOST_PRINTED
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._began = 0.0

    @property
    def running(self) -> bool:
        return self._process is not None

    def begin(self) -> None:
        self._output.seek(0)
        self._output.truncate()
        self._began = time.monotonic()
        self._process = self._start_one(self._output)

    def wait(self, timeout_s: float) -> None:
        """Wait until the process ends or the time is up; a finished one is a round.

        Raises RunEnded when it ended with another status than 0.
        """
        if self._process is None:
            time.sleep(timeout_s)
            return
        handle = os.pidfd_open(self._process.pid)
        try:
            ended, _, _ = select.select([handle], [], [], timeout_s)
        finally:
            os.close(handle)
        if ended:
            self._finish(self._process)

    def _finish(self, process: Popen[bytes]) -> None:
        code = process.wait()
        self._process = None
        raw = self._printed()
        self._log.write(raw)
        output = raw.decode(errors="replace")
        self.done.append(Round(code, output, time.monotonic() - self._began))
        if code:
            raise RunEnded(
                Outcome.FAILED,
                f"{self._name} ended with status {code}:\n{last_lines(output, 8)}",
            )

    def _printed(self) -> bytes:
        """Return what a round has printed; RunEnded when all of them print too much."""
        self._room -= os.fstat(self._output.fileno()).st_size
        if self._room < 0:
            raise RunEnded(
                Outcome.FAILED,
                f"{self._name} printed more than {_MOST_PRINTED >> 20} MB in all",
            )
        self._output.seek(0)
        return self._output.read()

    def close(self) -> None:
        if self._process is not None:
            end(self._process, grace_s=1)
        self._output.close()
