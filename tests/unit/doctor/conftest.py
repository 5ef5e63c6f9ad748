# SPDX-License-Identifier: GPL-2.0-only
"""A cache and results of its own for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import paths
from tests.unit.doctor.answers import as_user


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    as_user(monkeypatch, 0)
    return tmp_path / "scxlab"
