# SPDX-License-Identifier: GPL-2.0-only
"""What one end of the line to an agent writes, the other one reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.agent import protocol
from experiments.agent.protocol import Event, Word
from experiments.model import (
    BuiltObject,
    Job,
    Metric,
    Outcome,
    RunResult,
    RunSpec,
    User,
)

SPEC = RunSpec(
    *("scx_simple", "test", "scan", "hackbench", 1, 1, 7, 30, 2.0),
    *({"groups": 4}, {"fifo": True}, ("memory",)),
)
BUILT = BuiltObject(
    *(Path("/b/x.bpf.o"), "aa", "ops", "scan", "tasks", ".bss.counters"),
    *({"evicted": 8}, {"seen": 0}),
    needs_census=True,
    module="m.ko",
    loader="program",
    arguments=("-f",),
    settings={"slice_ns": 2**64 - 1},
)


@pytest.mark.parametrize("built", [BUILT, None])
def test_a_job_arrives_as_it_was(tmp_path: Path, built: BuiltObject | None) -> None:
    job = Job(SPEC, built, Path("/bin"), tmp_path, User(1000, 100))
    (tmp_path / protocol.JOB_FILE).write_text(protocol.job_text(job))
    assert protocol.read_job(tmp_path / protocol.JOB_FILE) == job


def test_a_result_comes_back_with_what_the_host_knows(tmp_path: Path) -> None:
    metrics = (Metric("round_time", 0.5, "s", True),)
    result = RunResult(SPEC, SPEC.run_id, Outcome.OK, "", metrics, {}, {"a": 1})
    protocol.write_result(result, tmp_path)
    found = protocol.read_result(tmp_path, SPEC, {"boot": 2})
    assert found.metrics == metrics and found.facts == {"a": 1, "boot": 2}


@pytest.mark.parametrize("word", Word)
def test_a_request_is_read_as_it_was_asked(word: Word) -> None:
    line = protocol.request(word, "/lab/share/x y/job.json")
    assert protocol.parse_request(line) == (word, Path("/lab/share/x y/job.json"))


def test_what_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="erase"):
        protocol.parse_request(b"erase /etc\n")


@given(st.binary())
def test_noise_is_no_event(noise: bytes) -> None:
    event = protocol.parse_event(noise)
    assert event is None or "event" in event


@pytest.mark.parametrize("event", Event)
def test_an_event_is_read_as_it_was_said(event: Event) -> None:
    line = protocol.event_line(event, text="a\nb")
    assert line.count(b"\n") == 1
    assert protocol.parse_event(line) == {"event": event, "text": "a\nb"}
