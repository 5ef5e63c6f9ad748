# SPDX-License-Identifier: GPL-2.0-only
"""Loading on a real kernel: timers, settings, the note of the end, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from experiments.build.builder import Builder
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuiltObject
from experiments.paths import BUILD
from experiments.plan.blocks import build_plan
from experiments.plan.config import parse_config

if TYPE_CHECKING:
    from tests.integration.conftest import Lab

UPSTREAM = Path(__file__).parent / "upstream"
SLICE_NS = 3_000_000
#: tick.bpf.c has ten ticks a second.
TICKS_PER_S = 10


@pytest.fixture
def tick(root: LabRoot, kernel: Kernel) -> Callable[..., BuiltObject]:
    """Builds tick.bpf.c with settings for its read-only data."""

    def build(**settings: int) -> BuiltObject:
        file = str(UPSTREAM / "tick.bpf.c")
        asked = {"schedulers": [file], "include": [UPSTREAM], "settings": settings}
        plan = build_plan(parse_config({"schema": 1, **asked}, "test"))
        return Builder(root, kernel).build(plan.builds[0])

    return build


def test_timers_live_and_settings_are_as_given(
    lab: Lab, tick: Callable[..., BuiltObject]
) -> None:
    built = tick(per_tick=3, slice_ns=SLICE_NS)
    result, out_dir = lab.run("misbehave", built, 5, 0.5, how="well")
    assert result["outcome"] == "OK", result["reason"]
    facts = result["facts"]
    assert facts["map"] == "ticks"
    entries = pd.read_csv(out_dir / "samples.csv")["map_entries"]
    assert entries.is_monotonic_increasing
    # A busy machine is late with ticks, and leaves none of them half done
    ticks = (entries.iloc[-1] - entries.iloc[0]) / 3
    assert 0.5 * TICKS_PER_S * 5 < ticks <= TICKS_PER_S * 5 + 2
    assert (entries % 3 == 0).mean() > 0.8
    assert facts["settings"] == {
        "fail_after": -1,
        "nr_cpu_ids": lab.shape.cpus,
        "per_tick": 3,
        "slice_ns": SLICE_NS,
        "unused": 0,
    }
    assert facts["settings_at_0"] == ["unused"]
    assert facts["constants_not_in_kernel"] == ["__SCX_NOT_IN_THIS_KERNEL"]
    assert facts["timeout_ms"] == 4000
    assert facts["scheduler_exit"]["kind"] == 64
    assert "unregistered from user space" in facts["scheduler_exit"]["reason"]
    assert "itest" not in lab.residue(), "the pin that it asks for"


def test_the_default_slice_is_the_kernels(
    lab: Lab, tick: Callable[..., BuiltObject]
) -> None:
    result, _ = lab.run("misbehave", tick(), 1, 1.0, how="well")
    assert result["outcome"] == "OK", result["reason"]
    assert result["facts"]["settings"]["slice_ns"] == 20_000_000


def test_why_it_ended_is_read_from_the_scheduler(
    lab: Lab, tick: Callable[..., BuiltObject]
) -> None:
    built = tick(fail_after=15, slice_ns=SLICE_NS)
    result, _ = lab.run("misbehave", built, 6, 0.5, how="well")
    assert result["outcome"] == "EJECTED"
    words = f"asked to fail: slice {SLICE_NS}, CPUs {lab.shape.cpus}"
    assert words in result["reason"]
    said = result["facts"]["scheduler_exit"]
    assert (said["kind"], said["msg"]) == (1025, words)


def test_a_refusal_is_told_in_the_verifiers_words(lab: Lab, builder: Builder) -> None:
    target = BUILD / "itest-refused.bpf.o"
    builder.bpf_object(
        UPSTREAM / "tick.bpf.c", target, ["-DREFUSED", "-I/lab/headers"], UPSTREAM
    )
    built = BuiltObject(target, "", "", "own", "", "", {}, {})
    result, out_dir = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "FAILED"
    assert "invalid mem access 'scalar'" in result["reason"]
    assert "processed" in (out_dir / "load.log").read_text()
    assert "itest" not in lab.residue()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"slice": 1}, "did you mean 'slice_ns'"), ({"per_tick": -1}, "takes 0 to")],
)
def test_settings_are_checked_again_by_the_first_load(
    lab: Lab,
    tick: Callable[..., BuiltObject],
    settings: dict[str, int],
    words: str,
) -> None:
    built = dataclasses.replace(tick(), settings=settings)
    result, _ = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "FAILED"
    assert words in result["reason"]


def test_garbage_is_refused_where_it_is_loaded(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "mine.bpf.o"
    path.write_bytes(b"\x7fELF\x02\x01\x01 and so on")
    built = BuiltObject(path, "", "", "own", "", "", {}, {})
    result, _ = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "FAILED"
    assert "mine.bpf.o does not open" in result["reason"]


def test_an_agent_that_is_killed_leaves_nothing(
    lab: Lab, tick: Callable[..., BuiltObject]
) -> None:
    built = dataclasses.replace(tick(), loader="killed")
    result, _ = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "OK", result["reason"]
    facts: dict[str, Any] = result["facts"]
    assert all(left == [] for left in facts["left"])
    assert len(facts["left"]) > 10
    # Before, and once it was in charge
    assert {"disabled", "enabled"} <= set(facts["killed_in"]), facts["killed_in"]
