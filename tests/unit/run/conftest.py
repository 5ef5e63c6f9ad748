# SPDX-License-Identifier: GPL-2.0-only
"""An experiment of two blocks, to be run by fakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.plan import config
from experiments.plan.blocks import build_plan
from experiments.store.experiment import Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    planned = build_plan(config.parse_config({"schema": 1, "iterations": 2}, "test"))
    return Experiment.create(tmp_path / "e", planned, {}, {})
