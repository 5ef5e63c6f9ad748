# SPDX-License-Identifier: GPL-2.0-only
"""What a process is started with; nothing is started here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.model import User
from experiments.support import proc


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines, each up to the program that was asked for."""
    seen: list[list[str]] = []

    def popen(argv: list[str], **_: Any) -> None:
        seen.append(argv)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(shutil, "which", lambda name, path: name)
    return seen


def test_a_user_gets_nothing_that_root_has(started: list[list[str]]) -> None:
    proc.start(["load", "-x"], user=User(1000, 100))
    words = started[0]
    assert words[-2:] == ["load", "-x"]
    for word in (
        *("--reuid=1000", "--regid=100", "--clear-groups", "--no-new-privs"),
        *("--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"),
    ):
        assert word in words
    assert words.index("--reuid=1000") < words.index("--") < words.index("load")


def test_a_user_gets_the_capabilities_that_are_named(
    started: list[list[str]],
) -> None:
    proc.start(["load"], user=User(1, 1), capabilities=["sys_nice", "bpf"])
    only = "-all,+sys_nice,+bpf"
    assert {f"--{kind}={only}" for kind in ("bounding-set", "ambient-caps")} <= set(
        started[0]
    )


def test_the_group_is_entered_while_that_is_allowed(
    started: list[list[str]],
) -> None:
    proc.start(["load"], cgroup=Path("/group"), user=User(1, 1))
    assert started[0].index("/group") < started[0].index("--reuid=1")


def test_whoever_has_no_user_stays_who_they_are(started: list[list[str]]) -> None:
    proc.start(["tool"], death_signal="TERM")
    assert not any("id=" in word or "caps" in word for word in started[0])
    assert started[0][:3] == ["setpriv", "--pdeathsig", "TERM"]
