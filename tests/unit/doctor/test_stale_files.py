# SPDX-License-Identifier: GPL-2.0-only
"""What a killed invoke leaves on disk; what is in use, or data, stays."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from experiments import paths
from experiments.doctor import stale_files
from experiments.machine.stale_state import Leftover
from experiments.support import tempdirs
from experiments.support.locks import locked


def grow_old(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def names(found: Iterable[Leftover], top: Path) -> list[str]:
    return [f.what.removeprefix(f"{top}/") for f in found]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One experiment, whose runner was killed."""
    experiment = tmp_path / "results/exp"
    for folder in (".vm", ".stage/code", "attempts/abc-1", "s/control"):
        (experiment / folder).mkdir(parents=True)
        (experiment / folder / "file").touch()
    for name in ("s/control/.x_run1.json.tmp", ".manifest.json.tmp"):
        (experiment / name).touch()
        grow_old(experiment / name, 3600)
    (experiment / "s/control/x_run1.json").touch()
    (experiment / ".lock").touch()
    return experiment.parent


LEFT = ["exp/.vm/", "exp/.stage/", "exp/.manifest.json.tmp"]


def test_of_an_experiment_that_nobody_runs(results: Path) -> None:
    found = [*stale_files.of_experiments(results)]
    assert names(found, results) == [*LEFT, "exp/s/control/.x_run1.json.tmp"]
    lines = [*stale_files.clean(found)]
    assert lines == [f"removed: {f.what}" for f in found]
    assert [*stale_files.of_experiments(results)] == []
    kept = {str(p.relative_to(results)) for p in results.rglob("*") if p.is_file()}
    assert kept == {
        "exp/.lock",
        "exp/attempts/abc-1/file",  # a stale attempt is data
        "exp/s/control/file",
        "exp/s/control/x_run1.json",
    }


def test_an_experiment_that_runs_is_left_alone(results: Path) -> None:
    with locked(results / "exp/.lock"):
        assert [*stale_files.of_experiments(results)] == []
    assert len([*stale_files.of_experiments(results)]) == 4


def test_one_that_was_begun_meanwhile_is_left_alone(results: Path) -> None:
    found = [*stale_files.of_experiments(results)]
    with locked(results / "exp/.lock"):
        lines = [*stale_files.clean(found)]
    assert all(line.startswith("NOT removed: ") for line in lines)
    assert all(line.endswith("somebody uses it now") for line in lines)
    assert (results / "exp/.vm").exists()


def test_a_runner_is_refused_only_while_something_is_removed(results: Path) -> None:
    begun = 0
    for _ in stale_files.of_experiments(results):
        with locked(results / "exp/.lock"):
            begun += 1
    assert begun == 4


def test_without_a_lock_nobody_ever_ran_it(results: Path) -> None:
    (results / "exp/.lock").unlink()
    assert len([*stale_files.of_experiments(results)]) == 4


def test_a_write_that_goes_on_is_none(results: Path) -> None:
    fresh = results / "exp/.summary.csv.tmp"
    fresh.touch()
    (results / "exp/notes.tmp").touch()
    grow_old(results / "exp/notes.tmp", 3600)
    said = " ".join(names(stale_files.of_experiments(results), results))
    assert ".summary.csv.tmp" not in said
    assert "notes.tmp" not in said, "not a name that atomic_write gives"


def test_a_link_is_not_followed(results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results / "exp/.vm")
    (tmp_path / "elsewhere").mkdir()
    (results / "exp/.vm").symlink_to(tmp_path / "elsewhere")
    assert "exp/.vm/" not in names(stale_files.of_experiments(results), results)


def test_what_cannot_be_removed_is_said(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    found = [*stale_files.of_experiments(results)][:1]
    monkeypatch.setattr(shutil, "rmtree", refuse)
    (line,) = stale_files.clean(found)
    assert line.startswith(f"NOT removed: {results}/exp/.vm/: ")
    assert "Permission denied" in line


def test_directories_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with tempdirs.directory("probe") as alive:
        assert alive.parent == tmp_path
        assert [*stale_files.of_scratch(tmp_path)] == []
        # Its maker is gone: the directory stays, and the lock does not
        dead = tmp_path / "scxlab-bench-abcd1234"
        shutil.copytree(alive, dead)
        assert names(stale_files.of_scratch(tmp_path), tmp_path) == [f"{dead.name}/"]
        assert [*stale_files.clean(stale_files.of_scratch(tmp_path))] == [
            f"removed: {dead}/"
        ]
        assert alive.exists()
    assert not alive.exists()


def test_directories_that_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("scxlab-results", "scxlab-probe-abc", "scxlab-probe-abcd1234x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".lock").touch()
    (tmp_path / "scxlab-probe-linked00").symlink_to(tmp_path / "scxlab-results")
    assert [*stale_files.of_scratch(tmp_path)] == []
    (tmp_path / "scxlab-probe-abcd1234").mkdir()
    (tmp_path / "scxlab-probe-abcd1234/.lock").touch()
    assert len([*stale_files.of_scratch(tmp_path)]) == 1
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert [*stale_files.of_scratch(tmp_path)] == [], "another user's"


def test_one_without_a_lock_has_a_day(tmp_path: Path) -> None:
    path = tmp_path / "scxlab-doctor-abcd1234"
    path.mkdir()
    assert [*stale_files.of_scratch(tmp_path)] == []
    grow_old(path, 2 * 86_400)
    assert len([*stale_files.of_scratch(tmp_path)]) == 1


def test_half_made_lab_roots(tmp_path: Path) -> None:
    (tmp_path / ".labroot-abc.123/usr").mkdir(parents=True)
    (tmp_path / "labroot-abc").mkdir()
    with locked(tmp_path / ".lock"):
        assert stale_files.half_made_roots(tmp_path) == []
    found = stale_files.half_made_roots(tmp_path)
    assert names(found, tmp_path) == [".labroot-abc.123/"]
    assert len([*stale_files.clean(found)]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "labroot-abc"]


def test_everything_on_disk(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "RESULTS", results)
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    places = (".vs.md.tmp", "../build/bin/.x.o.json.tmp", "../scxlab/.accel.json.tmp")
    for name in (*places, "../scxlab/kernels/abc/.vmlinux.tmp"):
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        grow_old(path, 3600)
    found = stale_files.files()
    assert len(found) == 4 + 4
    assert len([*stale_files.clean(found)]) == 8
    assert stale_files.files() == []
