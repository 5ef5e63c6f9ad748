# SPDX-License-Identifier: GPL-2.0-only
"""Handing runs to an agent, wherever it is, and taking their results back.

An agent only ever reads what it is handed, and writes nothing here: what it made comes
over the line, and is checked before it is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import paths
from experiments.agent import protocol, returned, staging
from experiments.agent.client import Answer, Line, Patience
from experiments.agent.protocol import Word
from experiments.agent.workload_driver import END_GRACE_S
from experiments.errors import BackendLost, ConfigError, FormatError
from experiments.model import BuiltObject, Job, Lane, Outcome, RunResult
from experiments.support import failpoints
from experiments.support.files import let_read

_SAMPLES = "samples.csv"
#: Names in what an agent is handed.
CODE, _BIN, _JOBS = "code", "bin", "jobs"


@dataclass(frozen=True)
class Grace:
    """How long an agent may be silent, loading under a busy emulator included.

    And what a run may take beside its workload, however much the agent has to say.
    """

    silence_s: float = 120.0
    slack_s: float = 300.0


PATIENT = Grace()
#: Held by the lane that makes what all have together.
_STAGING = threading.Lock()


class Stage:
    """The agent's code and tools, as they were when the experiment was begun here.

    All lanes have it together; the first one takes it away.
    """

    def __init__(self, path: Path, lane: Lane) -> None:
        self._path = path
        self._is_first = lane.number == 0
        # What a killed run has left
        self.close()

    def made(self) -> Path:
        """Return its directory, which is made when it is needed."""
        with _STAGING:
            if not self._path.exists():
                beside = self._path.with_name(f"{self._path.name}.tmp")
                staging.stage(beside / CODE)
                if paths.BIN.exists():
                    shutil.copytree(paths.BIN, beside / _BIN)
                let_read(beside)
                beside.rename(self._path)
        return self._path

    def close(self) -> None:
        if self._is_first:
            shutil.rmtree(self._path, ignore_errors=True)
            beside = self._path.with_name(f"{self._path.name}.tmp")
            shutil.rmtree(beside, ignore_errors=True)


class Share:
    """A fresh directory with all that one agent reads; it sees it at `inside`.

    There is one for every boot, and a job is in it while it is done: neither what an
    earlier kernel was given nor the objects of other runs are in its reach.
    """

    def __init__(
        self, stage: Stage, path: Path, inside: Path, grace: Grace = PATIENT
    ) -> None:
        self.path = path
        self._grace = grace
        self._inside = inside
        self._jobs = 0
        self.close()
        shutil.copytree(stage.made(), path, copy_function=os.link)
        (path / _JOBS).mkdir()
        let_read(path / _JOBS)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def missing(self, line: Line, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        """Return what the agent says is missing for these jobs, by their labels."""
        found = {}
        patience = Patience(self._grace.silence_s, self._grace.slack_s)
        for job in jobs:
            with self._handed_over(job) as path:
                answer = line.ask(path, patience, Word.CHECK)
            with _making_sense(answer):
                if missing := returned.missing(answer.done):
                    found[job.spec.label] = missing
        return found

    def execute(
        self,
        line: Line,
        job: Job,
        tick: Callable[[str], None],
        facts: Mapping[str, Any],
    ) -> RunResult:
        """Have the agent do the job, and keep its files in the job's `out_dir`.

        `facts` go to those of the result.

        Raises BackendLost when it dies, and when what it says makes no sense.
        """
        spec, grace = job.spec, self._grace
        silence = grace.silence_s + END_GRACE_S + spec.sample_interval_s
        patience = Patience(silence, spec.duration_s + grace.slack_s)
        with self._handed_over(job) as path:
            failpoints.step("job handed over")
            answer = line.ask(path, patience, tick=tick)
        with _making_sense(answer):
            result = returned.result(answer.result(), job.spec, facts)
            table = answer.files.get(_SAMPLES)
            if table is not None:
                returned.samples(table)
            elif result.outcome is Outcome.OK:
                raise FormatError("there are no samples")
        for name in protocol.RUN_FILES:
            if name in answer.files:
                with (job.out_dir / name).open("xb") as file:
                    file.write(answer.files[name])
        return result

    @contextlib.contextmanager
    def _handed_over(self, job: Job) -> Iterator[str]:
        """The path of a job's file as the agent sees it."""
        self._jobs += 1
        name = f"{_JOBS}/{self._jobs}"
        folder = self.path / name
        folder.mkdir()
        try:
            seen = dataclasses.replace(
                job,
                built=self._object(job.built, folder, self._inside / name),
                bin_dir=self._inside / _BIN,
            )
            (folder / protocol.JOB_FILE).write_text(protocol.job_text(seen))
            let_read(folder)
            yield str(self._inside / name / protocol.JOB_FILE)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _object(
        self, built: BuiltObject | None, folder: Path, inside: Path
    ) -> BuiltObject | None:
        """Return the object as the agent sees it, of which it gets a copy.

        A program that is no file here is one that the place itself has.
        """
        if built is None or not built.path.is_file():
            return built
        copy_object(built, folder / built.path.name)
        return dataclasses.replace(built, path=inside / built.path.name)


def copy_object(built: BuiltObject, target: Path) -> None:
    """Copy an object; ConfigError when it is no longer what was built."""
    shutil.copy(built.path, target)
    if hashlib.sha256(target.read_bytes()).hexdigest() != built.sha256:
        target.unlink()
        raise ConfigError(
            f"{built.path} was built anew, by another invoke, since this experiment "
            "began: the same command again goes on, if the sources are the same"
        )


@contextlib.contextmanager
def _making_sense(answer: Answer) -> Iterator[None]:
    """An agent whose answer makes no sense is lost."""
    try:
        yield
    except FormatError as error:
        raise BackendLost(f"what the agent answered makes no sense: {error}") from None
