# SPDX-License-Identifier: GPL-2.0-only
"""Whom a workload runs as: never as root, whatever the environment says."""

from __future__ import annotations

import pwd

import pytest

from experiments.machine import caller
from experiments.model import NOBODY, User


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwuid(uid: int) -> None:
        if uid not in (0, 1000):
            raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)


def test_the_user_who_called_sudo() -> None:
    env = {"SUDO_UID": "1000", "SUDO_GID": "100"}
    assert caller.user(env) == User(1000, 100)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"SUDO_UID": "1000"},
        {"SUDO_UID": "0", "SUDO_GID": "0"},
        {"SUDO_UID": "1000", "SUDO_GID": "0"},
        {"SUDO_UID": "-1", "SUDO_GID": "100"},
        {"SUDO_UID": "4294967295", "SUDO_GID": "100"},
        {"SUDO_UID": "\u0661\u0660\u0660\u0660", "SUDO_GID": "100"},
        {"SUDO_UID": "1_000", "SUDO_GID": "100"},
        {"SUDO_UID": "1000 --", "SUDO_GID": "100"},
        {"SUDO_UID": "1001", "SUDO_GID": "100"},
    ],
)
def test_else_nobody(env: dict[str, str]) -> None:
    assert caller.user(env) == NOBODY
