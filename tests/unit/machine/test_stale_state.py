# SPDX-License-Identifier: GPL-2.0-only
"""What a killed agent leaves in the kernel is taken away, and nothing of others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from experiments.agent import load_user
from experiments.kernel import cgroup
from experiments.machine import stale_state


def test_pins_and_groups_of_ours_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """bpffs and cgroup2 are directories here."""
    bpffs, groups = tmp_path / "bpf", tmp_path / "cgroup"
    for place in (bpffs / "scxlab-1/nested", bpffs / "other", groups / "scxlab-load-1"):
        place.mkdir(parents=True)
    for pin in ("scxlab-1/link", "scxlab-1/nested/map", "scxlab_timer", "other/link"):
        (bpffs / pin).touch()
    (groups / "other").mkdir()
    killed: list[Path] = []
    monkeypatch.setattr(stale_state, "BPFFS", bpffs)
    monkeypatch.setattr(stale_state, "_COPIES", tmp_path / "none-*")
    monkeypatch.setattr(stale_state, "_AGENT", tmp_path / "agent.json")
    monkeypatch.setattr(stale_state, "TRACEFS", tmp_path / "tracing")
    for name in ("scxlab-1", "other"):
        (tmp_path / "tracing/instances" / name).mkdir(parents=True)
    monkeypatch.setattr(cgroup, "ROOT", groups)
    monkeypatch.setattr(cgroup, "kill", killed.append)
    assert stale_state.clean() == [
        f"removed pin {bpffs}/scxlab-1",
        f"removed pin {bpffs}/scxlab_timer",
        f"removed control group {groups}/scxlab-load-1",
        f"removed tracing instance {tmp_path}/tracing/instances/scxlab-1",
    ]
    assert killed == [groups / "scxlab-load-1"]
    assert [p.name for p in bpffs.iterdir()] == ["other"]
    assert [p.name for p in groups.iterdir()] == ["other"]
    assert stale_state.clean() == []


def test_copies_of_programs_go_if_they_are_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Anybody may make a directory of that name in /tmp."""
    assert load_user.HOME / f"{load_user.COPIES}*" == stale_state._COPIES
    (tmp_path / "scxlab-bin-1").mkdir()
    (tmp_path / "scxlab-bin-1/churn").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scxlab-bin-2").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(stale_state, "_COPIES", tmp_path / "scxlab-bin-*")
    (left,) = stale_state._copies()
    left.remove()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "scxlab-bin-2"]
    (tmp_path / "scxlab-bin-3").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert [*stale_state._copies()] == []


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(stale_state, "_AGENT", tmp_path / "agent.json")
    return tmp_path / "agent.json"


def found() -> bool:
    agent = stale_state._agent()
    if agent is not None:
        os.close(agent.handle)
    return agent is not None


def test_an_agent_is_known_by_when_it_started_and_in_which_boot(noted: Path) -> None:
    stale_state.remember(os.getpid())
    assert found()
    mine = json.loads(noted.read_text())
    for other in ({"started_ticks": 1}, {"boot_id": "before"}, {"pid": 1}):
        noted.write_text(json.dumps({**mine, **other}))
        assert not found(), other


def test_an_agent_is_known_after_the_clock_was_set(
    noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it, the time of day has moved at which the kernel says it was started."""
    stale_state.remember(os.getpid())
    before = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda p: before(p) + 3600)
    assert found()


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"pid": 1, "created": 1.0}'])
def test_a_damaged_note_of_an_agent_is_none(noted: Path, text: str) -> None:
    noted.write_text(text)
    assert not found()
