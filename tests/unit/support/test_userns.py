# SPDX-License-Identifier: GPL-2.0-only
"""Who may be root in a namespace of its own."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.model import Completed
from experiments.support import userns


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", 0),
        ("anna:100000:65536\nno row\n", 0),
        ("bob:100000:65536\nann:165536:1000\n", 1000),
        ("1000:100000:65536\nann:165536:1000\n", 65536),
    ],
)
def test_ids_of_a_user_by_name_and_number(tmp_path: Path, text: str, ids: int) -> None:
    assert userns.most_ids(tmp_path / "absent") == 0
    file = tmp_path / "subuid"
    file.write_text(text)
    assert userns.most_ids(file) == ids


@pytest.mark.parametrize(("uid", "needs_ids"), [(1000, True), (0, False)])
def test_what_the_kernel_says_when_it_refuses(
    monkeypatch: pytest.MonkeyPatch, uid: int, needs_ids: bool
) -> None:
    asked: list[Sequence[str]] = []

    def refuse(argv: Sequence[str], **_: object) -> Completed:
        asked.append(argv)
        return Completed(tuple(argv), 1, "", "unshare: not permitted\n", 0.1)

    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(userns, "run", refuse)
    assert userns.denial() == "unshare: not permitted"
    assert ("--map-auto" in asked[0]) == needs_ids


@pytest.mark.parametrize(
    ("release", "is_too_old"),
    [
        ("5.11.22-generic", True),
        ("4.19.0", True),
        ("5.12.0", False),
        ("5.15.0-91-generic", False),
        ("7.2.12+deb14-cloud-amd64", False),
        ("next-20261101", False),
    ],
)
def test_kernels_that_cannot_wall_in(release: str, is_too_old: bool) -> None:
    assert bool(userns.too_old(release)) is is_too_old
