# SPDX-License-Identifier: GPL-2.0-only
"""A scheduler that is thrown out while the samplers are set up is no run."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.agent import run_job
from experiments.agent.workload_driver import RunEnded
from experiments.kernel import sched_ext
from experiments.model import LoadedScheduler, Outcome


@pytest.mark.parametrize(
    ("loaded", "state", "ops", "fine"),
    [
        ("scx_simple_scan", "enabled", "scx_simple_scan", True),
        ("scx_simple_scan", "disabled", "", False),
        ("scx_simple_scan", "disabling", "scx_simple_scan", False),
        ("scx_simple_scan", "enabled", "another", False),
        ("", "disabled", "", True),
        ("", "enabled", "another", False),
    ],
)
def test_what_was_loaded_is_in_charge_when_samples_begin(
    loaded: str,
    state: str,
    ops: str,
    fine: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sched_ext, "SYSFS", tmp_path)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/ops").write_text(f"{ops}\n")
    (tmp_path / "state").write_text(f"{state}\n")
    if fine:
        assert run_job._in_charge(LoadedScheduler(loaded, {}, None)).ops == loaded
        return
    with pytest.raises(RunEnded) as caught:
        run_job._in_charge(LoadedScheduler(loaded, {}, None))
    assert caught.value.outcome is Outcome.EJECTED
