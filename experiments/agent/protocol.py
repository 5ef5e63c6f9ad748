# SPDX-License-Identifier: GPL-2.0-only
"""What goes over the line between an agent and whoever asks it, for both ends.

To the agent go words, one a line: `run PATH`, `check PATH` of a job file. Back come
frames: the files of a run, and events, which are JSON objects: `hello` once with the
facts of the kernel, `tick` with a text while a run goes on, `done` at its end, or
`crashed` with a traceback. The `done` of a job that was checked says what is `missing`
for it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from pathlib import Path

from experiments.model import BuiltObject, Job, RunResult, User, run_spec

#: Said by hello; both ends have to speak the same.
VERSION = 2

#: The name of a job's file.
JOB_FILE = "job.json"
#: What a run writes, but for its result, by the name of the file and of the frame.
RUN_FILES = ("samples.csv", "dmesg.log", "workload.log", "load.log", "dump.log")


class Word(enum.StrEnum):
    """What is asked of an agent."""

    RUN = "run"
    CHECK = "check"


class Event(enum.StrEnum):
    """What an agent says."""

    HELLO = "hello"
    TICK = "tick"
    DONE = "done"
    CRASHED = "crashed"


def request(word: Word, job_file: str) -> bytes:
    """Return the line that asks an agent to do `word` with a job file."""
    return f"{word} {job_file}\n".encode()


def parse_request(line: bytes) -> tuple[Word, Path]:
    """Return what a line asks for; ValueError when it is no request."""
    word, _, path = line.decode().strip().partition(" ")
    return Word(word), Path(path)


def event_payload(event: Event, **values: object) -> bytes:
    """Return what the frame of an event holds."""
    return json.dumps({"event": event, **values}).encode()


def job_text(job: Job) -> str:
    """Return what the file of a job holds; where its files go, the agent decides."""
    said = dataclasses.asdict(job)
    del said["out_dir"]
    return json.dumps(said, default=os.fspath)


def read_job(path: Path, out_dir: Path) -> Job:
    """Return the job of a file, its own files to be written in `out_dir`."""
    raw = json.loads(path.read_text())
    built = raw["built"]
    if built is not None:
        paths = {"path": Path(built["path"]), "arguments": tuple(built["arguments"])}
        built = BuiltObject(**{**built, **paths})
    bin_dir, user = Path(raw["bin_dir"]), User(**raw["user"])
    return Job(run_spec(raw["spec"]), built, bin_dir, out_dir, user)


def result_payload(result: RunResult) -> bytes:
    """Return what the frame of a result holds; whose it is, the other end knows."""
    said = dataclasses.asdict(result)
    del said["spec"], said["run_id"]
    return json.dumps(said).encode()
