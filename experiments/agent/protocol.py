# SPDX-License-Identifier: GPL-2.0-only
"""What goes over the line between an agent and whoever asks it, for both ends.

To the agent go words, one a line: `run PATH`, `check PATH` of a job file. Back come
events, a JSON object a line: `hello` once with the facts of the kernel, `tick` with
a text while a run goes on, `done` at its end, or `crashed` with a traceback. A `done`
has the `path` of the result file, or what is `missing` for a job that was checked.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.model import (
    BuiltObject,
    Job,
    Metric,
    Outcome,
    RunResult,
    RunSpec,
    User,
    run_spec,
)

#: Said by hello; both ends have to speak the same.
VERSION = 1

#: Names in the directory of a job.
JOB_FILE = "job.json"
RESULT_FILE = "result.json"


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


def event_line(event: Event, **values: object) -> bytes:
    """Return an event as a line."""
    return json.dumps({"event": event, **values}).encode() + b"\n"


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Return the event that a line holds; None for noise, as firmware leaves."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def job_text(job: Job) -> str:
    """Return what the file of a job holds."""
    return json.dumps(dataclasses.asdict(job), default=os.fspath)


def read_job(path: Path) -> Job:
    raw = json.loads(path.read_text())
    built = raw["built"]
    if built is not None:
        paths = {"path": Path(built["path"]), "arguments": tuple(built["arguments"])}
        built = BuiltObject(**{**built, **paths})
    bin_dir, out_dir = Path(raw["bin_dir"]), Path(raw["out_dir"])
    return Job(run_spec(raw["spec"]), built, bin_dir, out_dir, User(**raw["user"]))


def write_result(result: RunResult, out_dir: Path) -> Path:
    """Write the result file of a job; return its path."""
    path = out_dir / RESULT_FILE
    path.write_text(json.dumps(dataclasses.asdict(result)))
    return path


def read_result(out_dir: Path, spec: RunSpec, more: Mapping[str, Any]) -> RunResult:
    """Return the result in the directory of a job, with `more` among its facts."""
    raw = json.loads((out_dir / RESULT_FILE).read_text())
    return RunResult(
        spec,
        spec.run_id,
        Outcome(raw["outcome"]),
        raw["reason"],
        tuple(Metric(**metric) for metric in raw["metrics"]),
        raw["proof"],
        {**raw["facts"], **more},
    )
