# SPDX-License-Identifier: GPL-2.0-only
"""Some of the attacks of `invoke bench walls`, one of each kind; the bench has all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.bench import walls

BY_GUEST = (*("links", "forge_facts_of_the_machine", "flood_without_newline"),)
BY_SOURCE = ("incbin_neighbour", "include_command_line", "words_for_a_terminal")


def test_there_are_enough_attacks() -> None:
    assert len(walls.guest_attacks()) >= 30
    assert len(walls.build_attacks()) >= 10
    assert {*BY_GUEST} <= {*walls.guest_attacks()}


@pytest.mark.usefixtures("root")
def test_guests_are_held() -> None:
    rows = list(walls.against_guests(BY_GUEST))
    assert [row["attack"] for row in rows if not row["held"]] == []
    assert len(rows) == len(BY_GUEST)


@pytest.mark.usefixtures("root")
def test_sources_are_held() -> None:
    rows = list(walls.against_builds(BY_SOURCE))
    assert [row["attack"] for row in rows if not row["held"]] == []
    assert len(rows) == len(BY_SOURCE)


def test_what_changes_is_seen(tmp_path: Path) -> None:
    """The check itself, without which all is held."""
    for name in ("same", "content", "mode", "gone"):
        (tmp_path / name).write_text("x")
    before = walls._listing(tmp_path)
    (tmp_path / "content").write_text("y")
    (tmp_path / "mode").chmod(0o4755)
    (tmp_path / "gone").unlink()
    (tmp_path / "link").symlink_to("same")
    os.mkfifo(tmp_path / "pipe")
    changed = walls._changed(before, walls._listing(tmp_path))
    names = ["content", "gone", "link", "mode", "pipe"]
    assert changed == [f"{tmp_path}/{name}" for name in names]
    assert len([*walls._no_files(tmp_path)]) == 2
