# SPDX-License-Identifier: GPL-2.0-only
"""The agent on a real kernel: what it measures of a scheduler, and proves of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from experiments.build.builder import Builder
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.plan.blocks import build_plan
from experiments.plan.config import default_columns, parse_config
from tests.integration.conftest import CHURN, duration_s, samples, spawned

if TYPE_CHECKING:
    from tests.integration.conftest import Lab, Ran


UPSTREAM = Path(__file__).parent / "upstream"


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
