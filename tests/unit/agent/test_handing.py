# SPDX-License-Identifier: GPL-2.0-only
"""What an agent is handed, and what is kept of its answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import paths
from experiments.agent import protocol
from experiments.agent.client import Answer, Line, Patience
from experiments.agent.handing import Grace, Share, Stage
from experiments.agent.protocol import Word
from experiments.columns import CSV_COLUMNS
from experiments.errors import BackendLost, ConfigError
from experiments.model import ALONE, BuiltObject, Job, Lane
from tests.unit.agent.test_protocol import SPEC
from tests.unit.agent.test_returned import RIGHT

INSIDE = Path("/lab/share")
TABLE = ",".join(CSV_COLUMNS).encode() + b"\n"


class FakeLine(Line):
    """Answers every job with the same files, after a look at what it was handed."""

    def __init__(self, share: Path, files: Mapping[str, bytes], **done: Any) -> None:
        self._share = share
        self._answer = Answer(files, {"event": "done", **done})
        self.job: dict[str, Any] = {}
        self.patience = Patience(0, 0)
        self.seen: set[str] = set()

    def ask(
        self,
        job: str,
        patience: Patience,
        word: Word = Word.RUN,
        tick: Callable[[str], None] = lambda text: None,
    ) -> Answer:
        assert job.startswith(f"{INSIDE}/")
        file = self._share / Path(job).relative_to(INSIDE)
        self.job, self.patience = json.loads(file.read_text()), patience
        self.seen = {p.name for p in file.parent.iterdir()}
        return self._answer


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Share:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/churn").write_text("program")
    (tmp_path / "bin/churn").chmod(0o700)
    monkeypatch.setattr(paths, "BIN", tmp_path / "bin")
    before = os.umask(0o077)
    try:
        stage = Stage(tmp_path / ".stage", ALONE)
        return Share(stage, tmp_path / "share", INSIDE, Grace(7, 11))
    finally:
        os.umask(before)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "x.bpf.o").write_bytes(b"object")
    sha256 = hashlib.sha256(b"object").hexdigest()
    built = BuiltObject(tmp_path / "x.bpf.o", sha256, "x", "own", "", "", {}, {})
    (tmp_path / "out").mkdir()
    return Job(SPEC, built, tmp_path / "bin", tmp_path / "out")


RESULT = json.dumps(RIGHT).encode()


def test_everybody_can_read_it_whatever_the_umask(share: Share) -> None:
    for path in (share.path, *share.path.rglob("*")):
        wanted = 0o755 if path.is_dir() or path.name == "churn" else 0o644
        assert path.stat().st_mode & 0o777 == wanted, path
    assert (share.path / "code/experiments/agent/serve.py").exists()
    assert not (share.path / "code/experiments/agent/handing.py").exists()


def test_a_job_and_its_object_are_there_while_it_is_done(
    share: Share, job: Job
) -> None:
    asked = FakeLine(share.path, {"result.json": RESULT, "samples.csv": TABLE})
    result = share.execute(asked, job, lambda text: None, {"boot": 3})
    assert result.facts["boot"] == 3
    assert asked.seen == {protocol.JOB_FILE, "x.bpf.o"}
    assert asked.job["built"]["path"] == f"{INSIDE}/jobs/1/x.bpf.o"
    assert asked.job["bin_dir"] == f"{INSIDE}/bin"
    assert asked.patience.job_s == SPEC.duration_s + 11
    assert (job.out_dir / "samples.csv").read_bytes() == TABLE
    assert [*(share.path / "jobs").iterdir()] == [], "no other run can reach it"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there is no result"),
        ({"result.json": b"{"}, "no JSON"),
        ({"result.json": RESULT}, "there are no samples"),
        ({"result.json": RESULT, "samples.csv": b"x"}, "samples"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_lost_run_and_nothing_is_kept(
    share: Share, job: Job, files: dict[str, bytes], words: str
) -> None:
    asked = FakeLine(share.path, files)
    with pytest.raises(BackendLost, match=f"makes no sense: .*{words}"):
        share.execute(asked, job, lambda text: None, {})
    assert [*job.out_dir.iterdir()] == []


def test_what_is_missing_is_a_list(share: Share, job: Job) -> None:
    asked = FakeLine(share.path, {}, missing=["no module"])
    assert share.missing(asked, [job]) == {SPEC.label: ["no module"]}
    asked = FakeLine(share.path, {}, missing=[])
    assert share.missing(asked, [job]) == {}
    asked = FakeLine(share.path, {}, missing={"x": 1})
    with pytest.raises(BackendLost, match="no list of texts"):
        share.missing(asked, [job])


def test_an_object_that_was_built_anew_is_not_handed_over(
    share: Share, job: Job
) -> None:
    assert job.built is not None
    job.built.path.write_bytes(b"another")
    asked = FakeLine(share.path, {})
    with pytest.raises(ConfigError, match="built anew"):
        share.execute(asked, job, lambda text: None, {})
    assert [*(share.path / "jobs").iterdir()] == []


def test_a_program_of_the_place_itself_is_not_copied(share: Share, job: Job) -> None:
    assert job.built is not None
    theirs = dataclasses.replace(job.built, path=Path("/usr/bin/scx_theirs"))
    asked = FakeLine(share.path, {"result.json": RESULT, "samples.csv": TABLE})
    share.execute(asked, dataclasses.replace(job, built=theirs), lambda text: None, {})
    assert asked.job["built"]["path"] == "/usr/bin/scx_theirs"
    assert asked.seen == {protocol.JOB_FILE}


def test_the_first_lane_takes_the_stage_away(tmp_path: Path, share: Share) -> None:
    second = Stage(tmp_path / ".stage", Lane(1, (1,)))
    assert second.made() == tmp_path / ".stage"
    second.close()
    assert (tmp_path / ".stage").exists()
    Stage(tmp_path / ".stage", ALONE).close()
    assert not (tmp_path / ".stage").exists()
    assert (share.path / "bin/churn").read_text() == "program", "boots go on"
