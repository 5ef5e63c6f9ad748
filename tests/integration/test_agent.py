# SPDX-License-Identifier: GPL-2.0-only
"""The agent on a real kernel: what it measures, and what it says of what goes wrong."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from experiments.build.builder import Builder
from experiments.errors import BackendLost, BuildError
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuiltObject
from experiments.plan.blocks import build_plan
from experiments.plan.config import default_columns, parse_config
from experiments.plan.knobs import CLEANUPS
from tests.integration.conftest import duration_s, spawned

if TYPE_CHECKING:
    from tests.integration.conftest import Lab, Ran


UPSTREAM = Path(__file__).parent / "upstream"


def samples(out_dir: Path) -> pd.DataFrame:
    return pd.read_csv(out_dir / "samples.csv")


def test_entries_equal_a_full_walk_of_the_map(lab: Lab) -> None:
    """At three moments, a walk before and a walk after enclose the sampled count.

    In control the map only grows, so the count is exact but for what the kernel's own
    threads add between the walks.
    """
    for number, (inside, before, after) in enumerate(enclosed_samples(lab), 1):
        assert inside["map_entries"].between(before, after).all()
        assert after - before <= 20
        assert before >= 60 * number
        assert (inside["inserted"] - inside["map_entries"]).abs().max() <= 2


def enclosed_samples(lab: Lab) -> list[tuple[pd.DataFrame, int, int]]:
    """Return for each moment its samples and what the walks around them found.

    A machine that is too busy to take a sample at each of them gets more time.
    """
    for time_s in (30, 120):
        result, out_dir = lab.run("count-check", lab.scheduler(), time_s, 0.2)
        if result["outcome"] == "TIMEOUT":
            continue
        assert result["outcome"] == "OK", result["reason"]
        assert result["facts"]["map_entries_by"] == "iterator"
        found = {m["name"]: m["value"] for m in result["metrics"]}
        moments = [enclosed(samples(out_dir), found, moment) for moment in range(3)]
        if all(len(inside) for inside, _, _ in moments):
            return moments
    raise AssertionError(f"no sample at some moment in {time_s} s: {result}")


def enclosed(
    table: pd.DataFrame, found: Mapping[str, float], moment: int
) -> tuple[pd.DataFrame, int, int]:
    start, before, end, after = (
        found[f"{name}_{moment}"] for name in ("from", "before", "until", "after")
    )
    # The clock of the walks is that of the agent to some hundredths of a second
    inside = table[table["timestamp"].between(start + 0.1, end - 0.1)]
    return inside, int(before), int(after)


def test_columns_and_counts_of_control(control_run: Ran) -> None:
    result, out_dir = control_run
    assert result["outcome"] == "OK", result["reason"]
    table = samples(out_dir)
    assert tuple(table.columns) == default_columns()
    # A sample belongs to the last deadline before it; a busy machine misses some
    last = 2 * duration_s(out_dir)
    deadlines = (table["timestamp"] // 0.5).clip(upper=last)
    assert deadlines.is_monotonic_increasing and deadlines.is_unique
    assert deadlines.iloc[-1] == last
    assert len(table) + result["facts"]["missed_deadlines"] == last + 1
    # Before the workload begins nobody waits
    waits = [c for c in table.columns if c.startswith("latency_")]
    waited = table["latency_count"] > 0
    assert not table.drop(columns=waits).isna().any(axis=None)
    assert not table.loc[waited, waits].isna().any(axis=None)
    assert waited.iloc[2:].mean() > 0.8
    assert table["map_entries"].is_monotonic_increasing
    made = spawned(result, out_dir)
    for column in ("map_entries", "forks"):
        assert table[column].iloc[-1] == pytest.approx(made, rel=0.15), column
    assert (table["evictions"] == 0).all()
    grown = table["forks"].iloc[-1]
    assert abs(table["map_entries"].iloc[-1] - grown) < 0.1 * grown
    assert table["slab_bpf_kb"].iloc[-1] > table["slab_bpf_kb"].iloc[0]
    assert made < 1.5 * 150 * duration_s(out_dir)


CHURN: dict[str, Any] = {"rate": 200, "burst": 10, "lifetime_ms": 20}


@pytest.fixture(scope="module")
def residue_of_control(lab: Lab, control_run: Ran) -> str:
    """What is in the guest when no strategy has run since, and has to be after each."""
    return lab.residue()


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


def test_a_scheduler_with_upstreams_headers(
    lab: Lab, root: LabRoot, kernel: Kernel
) -> None:
    """With its constants left at 0 the kernel ejects it at the first task."""
    asked = {"schedulers": [str(UPSTREAM / "fifo.bpf.c")], "include": [UPSTREAM]}
    plan = build_plan(parse_config({"schema": 1, **asked}, "test"))
    built = Builder(root, kernel).build(plan.builds[0])
    result, _ = lab.run("custom-churn", built, 2, 1.0, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    assert result["proof"]["after"]["ops"] == "fifo"
    assert result["proof"]["share_of_threads_in_sched_ext"] == 1.0


def as_program(lab: Lab, tmp_path: Path, script: str) -> BuiltObject:
    """Return a program that carries its object and loads it."""
    text = base64.encodebytes(lab.scheduler().path.read_bytes()).decode()
    program = tmp_path / "scx_program"
    program.write_text(script.replace("@OBJECT@", text))
    program.chmod(0o755)
    return BuiltObject(
        path=program,
        sha256="",
        ops_name="",
        cleanup="own",
        tasks_map="",
        counters_map="",
        counters={},
        record={},
        loader="program",
        arguments=("--flag",),
    )


def test_a_program_as_scheduler(
    lab: Lab, tmp_path: Path, residue_of_control: str
) -> None:
    """It unloads on SIGINT."""
    built = as_program(lab, tmp_path, PROGRAM)
    result, out_dir = lab.churn(built, 500, 3, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    assert result["facts"]["map"] == "tasks"
    entries = samples(out_dir)["map_entries"].iloc[-1]
    assert entries > 0.5 * spawned(result, out_dir)
    assert "pins_removed" not in result["facts"]
    assert lab.residue() == residue_of_control


def test_what_a_program_leaves_pinned_is_removed(
    lab: Lab, tmp_path: Path, residue_of_control: str
) -> None:
    """The pin of its link would keep its scheduler in charge."""
    built = as_program(lab, tmp_path, LITTERING)
    result, _ = lab.run("misbehave", built, 2, 1.0, how="well")
    assert result["outcome"] == "OK", result["reason"]
    assert result["facts"]["pins_removed"] == [
        "/sys/fs/bpf/litter/deep/tasks",
        "/sys/fs/bpf/program/simple_ops",
    ]
    assert lab.residue() == residue_of_control


PROGRAM = """#!/bin/sh
set -e
base64 -d > /tmp/program.bpf.o <<'END'
@OBJECT@END
bpftool struct_ops register /tmp/program.bpf.o /sys/fs/bpf/program
trap 'rm -r /sys/fs/bpf/program; exit 0' INT
while :; do sleep 0.1; done
"""


LITTERING = PROGRAM.replace(
    "trap 'rm -r /sys/fs/bpf/program; exit 0' INT",
    """
mkdir -p /sys/fs/bpf/litter/deep
bpftool map pin name tasks /sys/fs/bpf/litter/deep/tasks
trap 'exit 0' INT
""",
)
assert LITTERING != PROGRAM


def test_a_program_that_loads_nothing_is_told_in_its_words(
    lab: Lab, tmp_path: Path
) -> None:
    program = tmp_path / "scx_program"
    program.write_text("#!/bin/sh\necho no such flag >&2\nexit 2\n")
    program.chmod(0o755)
    known: dict[str, Any] = {
        "counters_map": "",
        "counters": {},
        "record": {},
        "loader": "program",
    }
    built = BuiltObject(program, "", "", "own", "", **known)
    result, _ = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "FAILED"
    assert "no such flag" in result["reason"]


def test_a_tiny_budget_still_resumes(lab: Lab) -> None:
    """One entry a scan or so, but each scan goes on where the last one stopped."""
    built = lab.scheduler("scan", max_age_ms=500, budget_us=1, period_ms=1)
    result, out_dir = lab.run("custom-churn", built, 4, 1.0, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    last = samples(out_dir).iloc[-1]
    assert last["budget_hits"] > 0.5 * last["scans"]
    assert last["evictions"] > 0.3 * last["inserted"]


def test_a_full_map_is_counted_not_hidden(lab: Lab) -> None:
    built = lab.scheduler(max_entries=64)
    result, out_dir = lab.churn(built, 300, 2, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    last = samples(out_dir).iloc[-1]
    assert last["map_entries"] == 64
    assert last["insert_failures"] > 0.5 * spawned(result, out_dir)


def test_preallocated_memory_does_not_follow_the_entries(lab: Lab) -> None:
    built = lab.scheduler(prealloc=True)
    result, out_dir = lab.churn(built, 500, 3, **CHURN)
    table = samples(out_dir)
    assert table["map_entries"].iloc[-1] > 0.5 * spawned(result, out_dir)
    assert table["map_memlock_kb"].nunique() == 1


def test_proof_of_life_is_recorded(lab: Lab) -> None:
    result, out_dir = lab.run("misbehave", lab.scheduler(), 1, 1.0, how="well")
    before, after = result["proof"]["before"], result["proof"]["after"]
    assert before == after
    assert before["ops"] == "scx_simple_control"
    assert before["state"] == "enabled"
    log = (out_dir / "dmesg.log").read_text()
    assert '"scx_simple_control" enabled' in log
    assert '"scx_simple_control" disabled (unregistered' in log


def test_every_load_is_another_one(lab: Lab) -> None:
    seq = [
        lab.run("misbehave", lab.scheduler(), 1, 1.0, how="well")[0]["proof"]["before"][
            "enable_seq"
        ]
        for _ in range(2)
    ]
    assert seq[1] == seq[0] + 1


def test_nothing_loaded_leaves_the_columns_of_the_map_empty(lab: Lab) -> None:
    result, out_dir = lab.run("misbehave", None, 1, 1.0, how="well")
    assert result["outcome"] == "OK", result["reason"]
    table = samples(out_dir)
    assert table["map_entries"].isna().all()
    assert table["evictions"].isna().all()
    assert (table["free_mem_kb"] > 0).all()


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


def test_hackbench_and_stress_ng_yield_their_metrics(lab: Lab) -> None:
    hackbench, _ = lab.run("hackbench", lab.scheduler(), 2, 1.0, groups=1, loops=20)
    assert hackbench["outcome"] == "OK", hackbench["reason"]
    found = {m["name"]: m["value"] for m in hackbench["metrics"]}
    assert found["round_time"] > 0
    stress, _ = lab.run("stress-ng", lab.scheduler(), 2, 1.0, fork=2)
    assert stress["outcome"] == "OK", stress["reason"]
    assert stress["metrics"][0]["name"] == "forks"
    assert stress["metrics"][0]["value"] > 10


def test_a_panic_is_a_lost_guest_with_the_kernels_word_for_it(lab: Lab) -> None:
    """Last in this file: the next test would get a fresh boot."""
    with pytest.raises(BackendLost, match=r"Kernel panic.*sysrq"):
        lab.run("misbehave", lab.scheduler(), 10, 1.0, how="panic")
    lab.close()
    result, _ = lab.run("misbehave", lab.scheduler(), 1, 1.0, how="well")
    assert result["outcome"] == "OK"
