# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of checks share: machines that lack something, and what is said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments.doctor.check import Answer, CheckStatus
from experiments.labroot import lab_root


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def programs(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """PATH holds these and no others."""
    monkeypatch.setattr(
        shutil, "which", lambda name: f"/bin/{name}" if name in names else None
    )


def says(answer: Answer, status: CheckStatus, words: str, remedy: str = "") -> None:
    assert answer.status is status, answer
    assert words in answer.found
    assert remedy in answer.remedy
    assert bool(answer.remedy) == (status is not CheckStatus.FOUND), "what to type"


def make_root(**changes: object) -> Path:
    place = lab_root.place()
    files = ("usr/bin/clang", "usr/sbin/bpftool", "usr/bin/qemu-system-x86_64")
    for name in (*files, "usr/libexec/virtiofsd"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch(0o755)
    (place / "lab").mkdir()
    versions = {"qemu-system-x86": "1:11.1", "virtiofsd": "1.14"}
    said = {"key": lab_root.key(), "suite": lab_root.SUITE, "packages": versions}
    (place / "lab/labroot.json").write_text(json.dumps(said | changes))
    return place
