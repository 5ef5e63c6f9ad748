# SPDX-License-Identifier: GPL-2.0-only
"""What somebody adds, a file each, to a copy of the project, works on a real kernel."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from experiments import paths
from experiments.build.builder import Builder
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.root import LabRoot
from tests.integration.conftest import PLUGS

if TYPE_CHECKING:
    from tests.integration.conftest import Lab

CHURN = {"rate": 50, "burst": 5, "lifetime_ms": 20}


@pytest.fixture
def enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project that has what is in PLUGS as well."""
    copy = tmp_path / "project"
    for folder in ("experiments", "schedulers", "workloads"):
        shutil.copytree(paths.PROJECT / folder, copy / folder)
    shutil.copytree(PLUGS, copy, dirs_exist_ok=True)
    monkeypatch.setattr(paths, "PROJECT", copy)
    monkeypatch.setattr(paths, "BUILD", copy / "build")
    monkeypatch.setattr(paths, "BIN", copy / "build/bin")
    return copy


def test_a_workload_with_a_program_of_its_own(
    lab: Lab, root: LabRoot, kernel: Kernel, enlarged: Path
) -> None:
    bin_dir = Builder(root, kernel).tools()
    assert {"churn", "heartbeat"} <= {path.name for path in bin_dir.iterdir()}
    lab.add_tool(bin_dir / "heartbeat")
    result, _ = lab.run("heartbeat", None, 2, 1.0, rate=50)
    assert result["outcome"] == "OK", result["reason"]
    found = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert found["beats"] == 100

    # Without its source it is no tool any more
    (enlarged / "workloads/src/heartbeat.c").unlink()
    Builder(root, kernel).tools()
    assert (bin_dir / "churn").exists() and not (bin_dir / "heartbeat").exists()


def test_a_loader_is_found_by_its_name(lab: Lab) -> None:
    built = dataclasses.replace(lab.scheduler(), loader="noting")
    result, out_dir = lab.run("custom-churn", built, 2, 1.0, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    assert (out_dir / "noted.txt").read_text() == built.ops_name
    assert result["proof"]["before"]["ops"] == built.ops_name
