# SPDX-License-Identifier: GPL-2.0-only
"""What a workload is given: programs within its reach, bounds, an environment."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import registry
from experiments.agent import load_user
from experiments.kernel import procfs
from experiments.model import NOBODY, User


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "place/bin"
    where.mkdir(parents=True)
    (where / "load").write_text("#!/bin/sh\n")
    monkeypatch.setattr(load_user, "HOME", tmp_path)
    return where


def close(monkeypatch: pytest.MonkeyPatch, closed: Path | None) -> None:
    """Everything may be used but this."""
    monkeypatch.setattr(load_user, "_allows", lambda path, user, bits: path != closed)


def test_programs_that_the_user_can_run_stay_where_they_are(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close(monkeypatch, None)
    with load_user.reachable(programs, NOBODY) as where:
        assert where == programs


@pytest.mark.parametrize("what", ["bin", "bin/load", "."])
def test_programs_out_of_reach_are_copied(
    programs: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    close(monkeypatch, programs.parent / what)
    with load_user.reachable(programs, NOBODY) as where:
        assert where != programs
        assert where.stat().st_mode & 0o777 == 0o755
        assert (where / "load").stat().st_mode & 0o777 == 0o755
        assert (where / "load").read_text() == "#!/bin/sh\n"
    assert not where.exists()


def test_an_owner_and_a_group_have_bits_of_their_own(programs: Path) -> None:
    programs.chmod(0o750)
    mine = User(os.getuid(), 12345)
    grouped = User(12345, programs.stat().st_gid)
    assert load_user._allows(programs, mine, 5)
    assert load_user._allows(programs, grouped, 5)
    assert not load_user._allows(programs, NOBODY, 5)


@pytest.mark.parametrize(
    ("pid_max", "threads_max", "pids"),
    [(32768, 11900, 10412), (32768, 99999, 28672), (1 << 22, 1 << 20, 1 << 16)],
)
def test_bounds_follow_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pid_max: int,
    threads_max: int,
    pids: int,
) -> None:
    kernel = tmp_path / "sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "pid_max").write_text(f"{pid_max}\n")
    (kernel / "threads-max").write_text(f"{threads_max}\n")
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    monkeypatch.setattr(procfs, "meminfo_kb", lambda *names: [1000])
    assert load_user.bounds() == load_user.Bounds(pids, 921_600)


def test_a_bound_that_was_met_is_named(tmp_path: Path) -> None:
    assert load_user.met(None) == ""
    assert load_user.met(tmp_path) == "", "no controllers"
    (tmp_path / "pids.max").write_text("64\n")
    (tmp_path / "pids.events").write_text("max 0\n")
    (tmp_path / "memory.max").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 0\noom_kill 0\n")
    assert load_user.met(tmp_path) == "", "reclaim at the limit harms nobody"
    (tmp_path / "pids.events").write_text("max 3\n")
    assert load_user.met(tmp_path) == "the workload wanted more than 64 processes"
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert load_user.met(tmp_path).endswith("64 processes and 4096 bytes of memory")


def test_the_agents_environment_is_not_for_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    assert "secret" not in load_user.env().values()


def test_no_workload_of_ours_needs_a_privilege() -> None:
    for name in registry.names("workload"):
        assert load_user.capabilities(registry.workload(name)) == ()
    needs = SimpleNamespace(capabilities=("sys_nice",))
    assert load_user.capabilities(needs) == ("sys_nice",)
