# SPDX-License-Identifier: GPL-2.0-only
"""Handing runs to an agent, wherever it is, and taking their results back."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.agent import protocol, staging
from experiments.agent.client import Line
from experiments.agent.protocol import Event, Word
from experiments.agent.workload_driver import END_GRACE_S
from experiments.errors import ConfigError
from experiments.model import BuiltObject, Job, Lane, RunResult
from experiments.store.experiment import Experiment
from experiments.support import failpoints
from experiments.support.files import atomic_write

#: Longest silence of the agent: loading and unloading under a busy emulator included.
SILENCE_S = 120.0
_STAGE = Path(".stage")
#: Held by the lane that copies something to the share.
_STAGING = threading.Lock()


class Share:
    """A directory for the files of runs, `inside` being where the agent sees it.

    The agent's code, objects and tools are copied to it, once, so that nothing changes
    under a running experiment. All lanes have it together; the first one makes it anew,
    and takes it away.
    """

    def __init__(self, path: Path, inside: Path, lane: Lane) -> None:
        self.path = path
        self._inside = inside
        self._is_first = lane.number == 0
        # What a killed run has left
        self.close()

    def close(self) -> None:
        if self._is_first:
            shutil.rmtree(self.path / _STAGE, ignore_errors=True)

    def stage_code(self) -> Path:
        """Return the agent's code as it was when the experiment was begun here."""
        self.path.mkdir(parents=True, exist_ok=True)
        with _STAGING:
            if not (self.path / staging.CODE).exists():
                staging.stage(self.path)
        return self.path / staging.CODE

    def missing(
        self, line: Line, experiment: Experiment, jobs: Sequence[Job]
    ) -> Mapping[str, Sequence[str]]:
        """Return what the agent says is missing for these jobs, by their labels."""
        found = {}
        for job in jobs:
            out_dir = experiment.new_attempt(job.spec)
            path = self._hand_over(dataclasses.replace(job, out_dir=out_dir))
            answer = [*line.serve(path, SILENCE_S, Word.CHECK)][-1]
            shutil.rmtree(out_dir)
            if answer["missing"]:
                found[job.spec.label] = answer["missing"]
        return found

    def execute(
        self,
        line: Line,
        job: Job,
        tick: Callable[[str], None],
        facts: Mapping[str, Any],
    ) -> RunResult:
        """Have the agent do the job; `facts` go to those of the result."""
        path = self._hand_over(job)
        silence = SILENCE_S + END_GRACE_S + job.spec.sample_interval_s
        for event in line.serve(path, silence):
            if event["event"] == Event.TICK:
                tick(event["text"])
        return protocol.read_result(job.out_dir, job.spec, facts)

    def _hand_over(self, job: Job) -> str:
        """Write the job's file; its path as the agent sees it."""
        with _STAGING:
            inside = self._seen(job)
        atomic_write(job.out_dir / protocol.JOB_FILE, protocol.job_text(inside))
        failpoints.step("job handed over")
        return str(inside.out_dir / protocol.JOB_FILE)

    def _seen(self, job: Job) -> Job:
        """Return the job as the agent sees it, its artefacts copied to the share."""
        stage = self.path / _STAGE
        if not (stage / "bin").exists():
            shutil.copytree(job.bin_dir, stage / "bin")
        built: BuiltObject | None = None
        if job.built is not None and not job.built.path.is_file():
            built = job.built  # a program that the place itself has
        elif job.built is not None:
            name = f"{job.built.sha256[:12]}-{job.built.path.name}"
            stage_object(job.built, stage / name)
            path = self._inside / _STAGE / name
            built = dataclasses.replace(job.built, path=path)
        return dataclasses.replace(
            job,
            built=built,
            bin_dir=self._inside / _STAGE / "bin",
            out_dir=self._inside / job.out_dir.name,
        )


def stage_object(built: BuiltObject, target: Path) -> None:
    """Copy an object once; afterwards a build by somebody else changes nothing."""
    if target.exists():
        return
    shutil.copy(built.path, target)
    if hashlib.sha256(target.read_bytes()).hexdigest() != built.sha256:
        target.unlink()
        raise ConfigError(
            f"{built.path} was built anew, by another invoke, since this experiment "
            "began: the same command again goes on, if the sources are the same"
        )
