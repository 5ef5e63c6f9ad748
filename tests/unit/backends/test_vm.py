# SPDX-License-Identifier: GPL-2.0-only
"""Which runs share a guest, and what of its shape is a fact."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from experiments.backends.vm import VmBackend
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuiltObject, Job
from experiments.plan.config import parse_config
from tests.unit.agent.test_protocol import SPEC

BLOCK = "/* EVOLVE-BLOCK-START */\n/* EVOLVE-BLOCK-END */\n"


def backend(**settings: Any) -> VmBackend:
    config = parse_config({"schema": 1, **settings}, "test")
    root = LabRoot(Path("/r"), "k", "forky", {})
    return VmBackend(config, root, Kernel("7", "abc", Path("/k"), Path("/k")))


def job(sha256: str) -> Job:
    built = BuiltObject(Path("/x"), sha256, "x", "own", "", "", {}, {})
    return Job(SPEC, built if sha256 else None, Path("/b"), Path("/o"))


def boots(of: VmBackend, monkeypatch: pytest.MonkeyPatch, *objects: str) -> int:
    """Return how often runs of these objects, one after another, begin afresh."""
    renewed: list[str] = []
    monkeypatch.setattr(of, "renew", lambda: renewed.append(""))
    monkeypatch.setattr(of, "_ready", lambda: cast(Any, None))
    monkeypatch.setattr(of, "_warm_up", lambda *of_run: True)
    monkeypatch.setattr(of, "_execute", lambda *of_run: None)
    for sha256 in objects:
        of.execute(job(sha256), lambda text: None)
    return len(renewed)


@pytest.mark.parametrize(
    ("asked", "source", "renewed"),
    [
        ("auto", "int x;", 0),
        ("auto", BLOCK, 3),
        ("always", "int x;", 3),
        ("never", BLOCK, 0),
    ],
)
def test_an_object_that_a_program_wrote_has_a_guest_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    source: str,
    renewed: int,
) -> None:
    file = tmp_path / "mine.bpf.c"
    file.write_text(source)
    made = backend(schedulers=[str(file)], vm={"fresh_boot": asked})
    assert boots(made, monkeypatch, "a", "a", "b", "a", "") == renewed


def test_the_shape_is_that_of_older_results_unless_asked_otherwise() -> None:
    plain = {"cpus", "memory_mb", "accel", "kernel"}
    assert {*backend()._shape()} == plain
    other = backend(vm={"fresh_boot": "always", "jobs": 2})._shape()
    assert {*other} == {*plain, "jobs", "fresh_boot"}
