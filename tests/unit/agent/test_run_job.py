# SPDX-License-Identifier: GPL-2.0-only
"""A scheduler that is thrown out: before the first sample, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.agent import run_job
from experiments.agent.workload_driver import Evidence, RunEnded
from experiments.kernel import sched_ext
from experiments.kernel.kmsg import KmsgRecord
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


class Log:
    """The kernel's log, which said this."""

    def __init__(self, *texts: str) -> None:
        self.records = [KmsgRecord(n, n, text) for n, text in enumerate(texts)]


NOTE = {"kind": 1025, "exit_code": 0, "reason": "scx_bpf_error", "msg": "lost a task"}
KERNEL = 'sched_ext: BPF scheduler "x" disabled (runtime error)'


@pytest.mark.parametrize(
    ("log", "note", "words"),
    [
        (Log(KERNEL), NOTE, 'BPF scheduler "x" disabled (runtime error)'),
        (Log(), NOTE, "scx_bpf_error, lost a task"),
        (Log(), {**NOTE, "kind": 64}, ""),
        (Log(), {}, ""),
    ],
)
def test_the_schedulers_own_note_is_told_where_the_kernels_log_says_nothing(
    log: Log, note: dict[str, object], words: str
) -> None:
    evidence = Evidence()
    evidence.facts |= {"scheduler_exit": note} if note else {}
    assert run_job._last_words(log, evidence) == words  # type: ignore[arg-type]
