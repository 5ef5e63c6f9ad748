# SPDX-License-Identifier: GPL-2.0-only
"""What one end of the line to an agent writes, the other one reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.agent import protocol, returned
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
def test_a_job_arrives_as_it_was_but_for_where_its_files_go(
    tmp_path: Path, built: BuiltObject | None
) -> None:
    job = Job(SPEC, built, Path("/bin"), Path("/of/the/host"), User(1000, 100))
    file = tmp_path / protocol.JOB_FILE
    file.write_text(protocol.job_text(job))
    assert "/of/the/host" not in file.read_text()
    found = protocol.read_job(file, tmp_path)
    assert found == Job(SPEC, built, Path("/bin"), tmp_path, User(1000, 100))


def test_a_result_comes_back_with_what_the_host_knows() -> None:
    metrics = (Metric("round_time", 0.5, "s", True), Metric("x", 2.0, "", False, 0.0))
    said = {"enabled": True, "tids": [1, 2], "share": None}
    result = RunResult(SPEC, SPEC.run_id, Outcome.OK, "", metrics, said, {"a": 1})
    found = returned.result(protocol.result_payload(result), SPEC, {"boot": 2})
    assert found.metrics == metrics and found.proof == said
    assert found.facts == {"a": 1, "boot": 2}


@pytest.mark.parametrize("word", Word)
def test_a_request_is_read_as_it_was_asked(word: Word) -> None:
    line = protocol.request(word, "/lab/share/x y/job.json")
    assert protocol.parse_request(line) == (word, Path("/lab/share/x y/job.json"))


def test_what_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="erase"):
        protocol.parse_request(b"erase /etc\n")


@pytest.mark.parametrize("event", Event)
def test_an_event_is_read_as_it_was_said(event: Event) -> None:
    payload = protocol.event_payload(event, text="a\nb")
    assert returned.event(payload) == {"event": event, "text": "a\nb"}
