# SPDX-License-Identifier: GPL-2.0-only
"""The command that builds a cell; real cells are in tests/integration/test_cell.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from experiments.labroot import cell
from experiments.labroot.cell import Bind, Limits
from experiments.support import userns

ROOT = Path("/cache/labroot-x")


def plan_of(words: list[str]) -> dict[str, object]:
    said: dict[str, object] = json.loads(words[-1])
    return said


def test_a_cell_is_told_what_it_shows_and_allows() -> None:
    binds = [Bind(Path("/a"), "/lab/a"), Bind(Path("/b"), "/lab/b", is_writable=True)]
    words = cell.command(ROOT, ["clang", Path("/lab/a/x.c")], binds, Limits(7, 2, 3))
    plan = plan_of(words)
    assert plan["argv"] == ["clang", "/lab/a/x.c"]
    assert plan["binds"] == [["/a", "/lab/a", False], ["/b", "/lab/b", True]]
    assert plan["limits"] == {
        "RLIMIT_NPROC": 7,
        "RLIMIT_FSIZE": 2 << 20,
        "RLIMIT_AS": 3 << 20,
        "RLIMIT_CPU": 300,
    }
    assert plan["starter"] == os.getpid()
    assert plan["has_whole_proc"] is False
    assert {*plan["env"]} == {"PATH", "HOME", "LC_ALL"}  # type: ignore[misc]


def test_no_file_at_all_is_a_limit() -> None:
    assert Limits(file_mb=0).rlimits()["RLIMIT_FSIZE"] == 0
    assert "RLIMIT_FSIZE" not in Limits(file_mb=None).rlimits()


def test_a_user_gives_it_an_id_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(userns, "most_ids", lambda path: 65536)
    words = cell.command(ROOT, ["true"])
    assert words[0] == "unshare"
    assert plan_of(words)["uid"] == 65533
    monkeypatch.setattr(userns, "most_ids", lambda path: 1000)
    assert plan_of(cell.command(ROOT, ["true"]))["uid"] == 999
