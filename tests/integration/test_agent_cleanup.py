# SPDX-License-Identifier: GPL-2.0-only
"""Clean-up strategies on a real kernel: they evict, balance, and leave nothing."""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from experiments.errors import BuildError
from experiments.plan.knobs import CLEANUPS
from tests.integration.conftest import CHURN, samples, spawned

if TYPE_CHECKING:
    from tests.integration.conftest import Lab, Ran


@pytest.fixture(scope="module")
def with_cleanup(lab: Lab, residue_of_control: str) -> Callable[[str], Ran]:
    """Runs a strategy, once for all tests that look at it."""

    def run(cleanup: str) -> Ran:
        built = lab.scheduler(cleanup, max_age_ms=500, lru_entries=128)
        return lab.churn(built, 500, 4 if cleanup == "scan" else 3, **CHURN)

    return cache(run)


def test_scan_evicts_and_its_books_balance(
    with_cleanup: Callable[[str], Ran],
) -> None:
    result, out_dir = with_cleanup("scan")
    assert result["outcome"] == "OK", result["reason"]
    table = samples(out_dir)
    last = table.iloc[-1]
    assert last["evictions"] > 0.6 * spawned(result, out_dir)
    assert last["inserted"] - last["evictions"] == pytest.approx(
        last["map_entries"], abs=5
    )
    assert last["map_entries"] < 0.6 * last["inserted"]
    assert last["scans"] > 10
    assert last["scanned"] >= last["evictions"]
    assert last["insert_failures"] == 0


@pytest.mark.parametrize("cleanup", CLEANUPS)
def test_every_strategy_evicts_balances_and_leaves_nothing(
    lab: Lab,
    with_cleanup: Callable[[str], Ran],
    residue_of_control: str,
    cleanup: str,
) -> None:
    result, out_dir = with_cleanup(cleanup)
    assert result["outcome"] == "OK", result["reason"]
    facts = result["facts"]
    assert "flags" not in facts
    ways = facts["evictions_three_ways"]
    known = [way for way in ways.values() if way is not None]
    assert len(known) == {"lru": 1, "storage": 1, "kfunc": 3}.get(cleanup, 2)
    assert min(known) > 0.5 * spawned(result, out_dir)
    assert len(set(known)) == 1
    last = samples(out_dir).iloc[-1]
    assert last["map_entries"] < 0.7 * last["inserted"]
    assert 0 <= last["leaked"] <= last["map_entries"]
    if cleanup in ("exit", "storage"):
        assert last["leaked"] == 0
        assert last["false_evictions"] == 0
    assert result["proof"]["share_of_threads_in_sched_ext"] == 1.0
    assert lab.residue() == residue_of_control


def test_sleepers_are_evicted_by_age_and_that_is_counted(lab: Lab) -> None:
    """Processes that sleep for 0.5 to 1.5 s, with a max_age of 0.2 s."""
    sleepers: dict[str, Any] = {"rate": 40, "burst": 1, "lifetime_ms": 1000}
    by_age = lab.scheduler("scan", max_age_ms=200)
    result, out_dir = lab.churn(by_age, 100, 3, **sleepers)
    evicted_alive = samples(out_dir)["false_evictions"].iloc[-1]
    assert evicted_alive > 0.25 * spawned(result, out_dir)
    exact = lab.scheduler("exit")
    _, out_dir = lab.churn(exact, 100, 3, **sleepers)
    assert samples(out_dir)["false_evictions"].iloc[-1] == 0


def test_the_module_scans_for_ten_milliseconds_whatever_is_asked(lab: Lab) -> None:
    result, _ = lab.run("misbehave", lab.bound(1), 1, 1.0, how="well")
    found = re.search(
        r"returned (-?\d+) after (\d+) us, evicted (\d+) of (\d+)", result["reason"]
    )
    assert found, result["reason"]
    code, took_us, evicted, stale = map(int, found.groups())
    assert code == -errno.ETIMEDOUT
    assert 10_000 <= took_us < 50_000, "the emulator may take some more"
    assert 0 < evicted < stale


def test_the_module_refuses_a_map_that_is_too_large_and_that_is_seen(lab: Lab) -> None:
    result, _ = lab.run("custom-churn", lab.bound(2), 5, 1.0, **CHURN)
    assert result["outcome"] in ("EJECTED", "FAILED")
    assert f"refuses the map: error -{errno.E2BIG}" in result["reason"]


@pytest.mark.parametrize(
    ("knob", "value"), [("max_entries", 65537), ("budget_us", 10_001)]
)
def test_settings_beyond_what_the_module_gives_do_not_compile(
    lab: Lab, knob: str, value: int
) -> None:
    with pytest.raises(BuildError, match=f"kfunc scans .*{knob}"):
        lab.scheduler("kfunc", **{knob: value})


def test_no_module_is_a_reason_to_skip(lab: Lab) -> None:
    built = dataclasses.replace(lab.scheduler("kfunc"), module="absent.ko")
    result, _ = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "SKIPPED"
    assert "take another strategy" in result["reason"]


def test_a_tiny_budget_still_resumes(lab: Lab) -> None:
    """One entry a scan or so, but each scan goes on where the last one stopped."""
    built = lab.scheduler("scan", max_age_ms=500, budget_us=1, period_ms=1)
    result, out_dir = lab.run("custom-churn", built, 4, 1.0, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    last = samples(out_dir).iloc[-1]
    assert last["budget_hits"] > 0.5 * last["scans"]
    assert last["evictions"] > 0.3 * last["inserted"]
