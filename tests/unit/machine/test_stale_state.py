# SPDX-License-Identifier: GPL-2.0-only
"""What a killed agent leaves in the kernel is taken away, and nothing of others."""

from __future__ import annotations

from pathlib import Path

import pytest

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
