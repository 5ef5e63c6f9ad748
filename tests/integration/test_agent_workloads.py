# SPDX-License-Identifier: GPL-2.0-only
"""Workloads on a real kernel: what they yield, may, and fail of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Lab


@pytest.mark.parametrize(
    ("how", "outcome", "words"),
    [
        ("early", "FAILED", "ended after"),
        ("fail", "FAILED", "ended with status 3:\nbroken"),
        ("late", "TIMEOUT", "still ran"),
    ],
)
def test_workloads_that_fail(lab: Lab, how: str, outcome: str, words: str) -> None:
    result, _ = lab.run("misbehave", lab.scheduler(), 2, 1.0, how=how)
    after, _ = lab.run("misbehave", lab.scheduler(), 1, 1.0, how="well")
    assert result["outcome"] == outcome
    assert words in result["reason"]
    assert after["outcome"] == "OK", "nothing of the failed run is left"


def test_a_workload_has_no_privileges(lab: Lab) -> None:
    """Neither by itself nor by a program that would give it some."""
    result, out_dir = lab.run("privileges", lab.scheduler(), 3, 1.0)
    assert result["outcome"] == "OK", result["reason"]
    said = json.loads((out_dir / "workload.log").read_text())
    assert said["ids"] == [[65534] * 3, [65534] * 3, []]
    assert set(said["capabilities"].values()) == {0}
    assert said["NoNewPrivs"] == 1
    assert said["came through"] == []
    facts = result["facts"]
    assert facts["load_user"] == {"uid": 65534, "gid": 65534}
    assert said["bounds"] == {f"{k}.max": v for k, v in facts["load_bounds"].items()}
    assert said["bounds"]["pids.max"] > 4000


def test_a_workload_that_meets_its_bounds_has_failed(lab: Lab) -> None:
    result, _ = lab.run("misbehave", lab.scheduler(), 2, 1.0, how="fork")
    lab.run("misbehave", None, 1, 1.0, how="well")  # with the bounds as they are
    assert result["outcome"] == "FAILED"
    assert "wanted more than 20 processes" in result["reason"]


def test_hackbench_and_stress_ng_yield_their_metrics(lab: Lab) -> None:
    hackbench, _ = lab.run("hackbench", lab.scheduler(), 2, 1.0, groups=1, loops=20)
    assert hackbench["outcome"] == "OK", hackbench["reason"]
    found = {m["name"]: m["value"] for m in hackbench["metrics"]}
    assert found["round_time"] > 0
    stress, _ = lab.run("stress-ng", lab.scheduler(), 2, 1.0, fork=2)
    assert stress["outcome"] == "OK", stress["reason"]
    assert stress["metrics"][0]["name"] == "forks"
    assert stress["metrics"][0]["value"] > 10
