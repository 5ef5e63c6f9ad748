# SPDX-License-Identifier: GPL-2.0-only
"""Unit tests start no process: what needs one is an integration test.

They have no deadline: how long an example takes says how busy the machine is.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import matplotlib.font_manager  # noqa: F401 - asks fc-list when it is imported
import pytest
from hypothesis import settings

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

GOLDEN_ERROR = "a unit test tried to start"


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, argv: Any, *args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"{GOLDEN_ERROR} {argv}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    # A half-made Popen has nothing to reap
    monkeypatch.setattr(subprocess.Popen, "__del__", lambda self: None)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No unit test waits for an experiment on this machine, or leaves it anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
