# SPDX-License-Identifier: GPL-2.0-only
"""Counters of sched_ext's core, as kernels name them and as columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.kernel import sched_ext
from experiments.model import LoadedScheduler
from experiments.samplers.scx_events import ScxEventsSampler

JOB: Any = None
EVENTS = """\
SCX_EV_SELECT_CPU_FALLBACK 7
SCX_EV_ENQ_SLICE_DFL 3
SCX_EV_BYPASS_DURATION 33182110
SCX_EV_BYPASS_ACTIVATE -1
SCX_EV_SOME_DAY 9
"""


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sched_ext, "SYSFS", tmp_path)
    (tmp_path / "root").mkdir()
    return tmp_path / "root/events"


def sampler(ops_name: str = "ops") -> ScxEventsSampler:
    return ScxEventsSampler(JOB, LoadedScheduler(ops_name, {}, None))


def test_counters_by_their_columns_and_the_rest_as_a_fact(events: Path) -> None:
    events.write_text(EVENTS)
    assert sampler().missing() == ()
    assert sampler().sample() == {
        "scx_select_cpu_fallback": 7,
        "scx_refill_slice_dfl": 3,  # as it was called at first
        "scx_bypass_ns": 33182110,
        "scx_bypass_activate": 0,
    }
    assert sampler().finish() == {"scx_events_beside_columns": {"SCX_EV_SOME_DAY": 9}}


def test_every_value_has_a_declared_column(events: Path) -> None:
    names = {column.name for column in ScxEventsSampler.columns}
    assert len(names) == 13
    events.write_text(EVENTS)
    assert set(sampler().sample()) <= names


def test_older_kernels_say_so(events: Path) -> None:
    assert "before Linux 6.15" in sampler().missing()[0]
    assert "no scheduler" in sampler("").missing()[0]
