# SPDX-License-Identifier: GPL-2.0-only
"""The guest gets what it runs, and nothing else."""

from __future__ import annotations

from pathlib import Path

from experiments.agent import staging
from experiments.machine import facts
from tests.unit.test_rooms import GUEST_ROOMS, PACKAGES, SOURCES, ours, room_of

#: Staged, though the agent does not import it: other programs for this kernel do.
BESIDE = {"experiments.kernel.clock", "experiments.kernel.scratch_map"}
OTHER_END = {
    f"experiments.agent.{m}" for m in ("client", "handing", "returned", "staging")
}


def needed() -> set[str]:
    """Return what the agent and every module it loads by name import."""
    todo = ["experiments.agent.__main__"]
    todo += [m for m in SOURCES if room_of(m) in ("samplers", "loaders", "workloads")]
    seen: set[str] = set()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += ours(module, SOURCES[module])
            todo += [package for package in PACKAGES if module.startswith(package)]
    return seen


def test_the_guest_gets_exactly_what_the_agent_needs(tmp_path: Path) -> None:
    staging.stage(tmp_path)
    code = tmp_path
    staged = {
        ".".join(path.relative_to(code).with_suffix("").parts).removesuffix(".__init__")
        for path in code.rglob("*")
        if path.is_file()
    }
    assert staged == needed() | BESIDE
    assert {room_of(m) for m in staged} == {*GUEST_ROOMS, "support", "ground"}
    assert not staged & OTHER_END


def project(root: Path) -> Path:
    for name in (
        "doctor/check.py",
        "bench/faults.py",
        "run/lanes.py",
        "agent/run_job.py",
    ):
        (root / "experiments" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "experiments" / name).write_text("x = 1")
    return root


def test_rooms_without_a_part_in_runs_do_not_make_hosts_refuse(tmp_path: Path) -> None:
    here = project(tmp_path)
    before = facts.source_sha256(here)
    for name in ("doctor/check.py", "bench/faults.py"):
        (here / "experiments" / name).write_text("x = 2")
    assert facts.source_sha256(here) == before


def test_rooms_with_a_part_in_runs_do(tmp_path: Path) -> None:
    here = project(tmp_path)
    hashes = {facts.source_sha256(here)}
    for name in ("run/lanes.py", "agent/run_job.py"):
        (here / "experiments" / name).write_text("x = 2")
        hashes.add(facts.source_sha256(here))
    assert len(hashes) == 3
