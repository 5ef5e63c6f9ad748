# SPDX-License-Identifier: GPL-2.0-only
"""Runs that a real kernel ends, refuses, or dies of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from experiments.errors import BackendLost
from tests.integration.conftest import CHURN

if TYPE_CHECKING:
    from tests.integration.conftest import Lab


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "the fault that was asked for"),
        (2, "runnable task stall"),
    ],
)
def test_an_ejected_scheduler_is_told_in_the_kernels_words(
    lab: Lab, number: int, words: str
) -> None:
    built = lab.fault(number)
    result, out_dir = lab.run("custom-churn", built, 15, 0.5, **CHURN)
    assert result["outcome"] == "EJECTED"
    dump = (out_dir / "dump.log").read_text()
    assert words in dump and "CPU states" in dump
    assert "SCX_EV_SELECT_CPU_FALLBACK" in dump
    assert words in result["reason"]
    assert f"fault_{number}" in result["reason"]
    after, _ = lab.run("misbehave", lab.scheduler(), 1, 1.0, how="well")
    assert after["outcome"] == "OK", "the guest goes on after an ejection"


def test_the_verifiers_words_reach_the_user(lab: Lab) -> None:
    result, out_dir = lab.run("misbehave", lab.fault(3), 2, 1.0, how="well")
    assert result["outcome"] == "FAILED"
    assert "invalid mem access 'map_value_or_null'" in result["reason"]
    assert "load.log" in result["reason"]
    assert "processed" in (out_dir / "load.log").read_text()


@pytest.mark.parametrize("name", ["scx_cfsish", "scx_nest", "scx_flatcg"])
def test_tasks_of_a_cpu_that_goes_offline_go_on(lab: Lab, name: str) -> None:
    """Also those that were bound to it, and waited in its queue when it went."""
    result, _ = lab.run("hotplug", lab.named(name), 14, 1.0)
    assert result["outcome"] == "OK", result["reason"]
    found = {m["name"]: m["value"] for m in result["metrics"]}
    assert found["put_away"] < 8
    assert found["ran_least"] > 0


def test_scx_simple_goes_when_a_cpu_does(lab: Lab) -> None:
    result, _ = lab.run("hotplug", lab.scheduler(), 14, 1.0)
    assert result["outcome"] == "EJECTED"
    assert "unregistered from the main kernel" in result["reason"]


def test_a_panic_is_a_lost_guest_with_the_kernels_word_for_it(lab: Lab) -> None:
    """Last in this file: the next test would get a fresh boot."""
    with pytest.raises(BackendLost, match=r"Kernel panic.*sysrq"):
        lab.run("misbehave", lab.scheduler(), 10, 1.0, how="panic")
    lab.close()
    result, _ = lab.run("misbehave", lab.scheduler(), 1, 1.0, how="well")
    assert result["outcome"] == "OK"
