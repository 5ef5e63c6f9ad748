# SPDX-License-Identifier: GPL-2.0-only
"""What a user sees of a mistake: the thing, the nearest valid one, the exit code."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

import pytest
from invoke.program import Program

from experiments import paths, registry
from experiments.commands import dev, results, run, setup
from experiments.errors import MissingRequirement
from experiments.labroot import lab_root
from tests.unit import analysis_fixtures as fx

PROJECT = Path(__file__).parents[3]


def invoke(monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.chdir(PROJECT)
    with pytest.raises(SystemExit) as ended:
        Program().run(["invoke", *shlex.split(line)])
        raise SystemExit(0)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("run --duraton 5", 2, "unknown flag '--duraton'; did you mean '--duration'"),
        ("rum", 2, "unknown task 'rum'; did you mean 'run'"),
        ("run --sched scx_simpel", 2, "did you mean 'scx_simple'"),
        ("run --workload hackbensh", 2, "did you mean 'hackbench'"),
        ("run --cleanup scam", 2, "did you mean 'scan'"),
        ("run --duration 0", 2, "--duration: "),
        ("run --iterations 0", 2, "--iterations: "),
        ("run --duration soon", 2, "--duration: "),
        ("run --backend mv", 2, "unknown backend 'mv'"),
        ("run --config /absent.yaml", 2, "/absent.yaml: No such file"),
        ("import /absent", 2, "/absent has no <scheduler>/"),
        ("import", 2, "directory"),
        ("bench everything", 2, "unknown bench 'everything'"),
        ("run --duration", 2, "--duration needs a value"),
        ("status --experiment", 2, "--experiment needs a value"),
        ("status --jsn", 2, "unknown flag '--jsn'; did you mean '--json'"),
        ("status one --jsn", 2, "unknown flag '--jsn'"),
        ("verify one two", 2, "unknown task 'two'"),
        ("compare one", 2, "'b'"),
        ("system", 2, "action"),
        ("system tuen", 2, "unknown action 'tuen'; did you mean 'tune'"),
    ],
)
def test_mistakes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    code: int,
    words: str,
) -> None:
    assert invoke(monkeypatch, line) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_dry_run_shows_the_plan_and_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(monkeypatch, "run --dry-run --iterations 2 --workload all") == 0
    said = capsys.readouterr().out
    blocks = 2 * len(registry.names("workload"))
    assert said.count("scx_simple/control/") == blocks
    assert f"{2 * blocks} runs, about " in said


def test_the_list_names_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(monkeypatch, "list") == 0
    said = capsys.readouterr().out
    for name in (
        "scx_simple",
        "scan",
        "hackbench",
        "stress-ng",
        "custom-churn",
        "vm",
        "host",
    ):
        assert name in said


@pytest.mark.parametrize(
    "line",
    ["aggregate", "aggregate e", "status", "status --experiment e", "verify", "resume"],
)
def test_no_experiment_yet(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    line: str,
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    assert invoke(monkeypatch, line) == 2
    assert "invoke run" in capsys.readouterr().err


OF_AN_EXPERIMENT = {
    "aggregate": (results, "aggregate"),
    "status": (results, "status"),
    "verify": (results, "verify"),
    "resume": (run, "resume"),
}


@pytest.mark.parametrize(
    ("words", "name"),
    [("", None), ("this", "this"), ("--experiment this", "this"), ("list", "list")],
)
@pytest.mark.parametrize("task", OF_AN_EXPERIMENT)
def test_the_name_of_an_experiment_with_and_without_its_flag_or_left_away(
    monkeypatch: pytest.MonkeyPatch, task: str, words: str, name: str | None
) -> None:
    asked = []
    monkeypatch.setattr(*OF_AN_EXPERIMENT[task], lambda name, *rest: asked.append(name))
    assert invoke(monkeypatch, f"{task} {words}") == 0
    assert asked == [name]


@pytest.mark.parametrize("task", [*OF_AN_EXPERIMENT, "compare", "run"])
def test_every_task_has_its_help(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
) -> None:
    assert invoke(monkeypatch, f"{task} --help") == 0
    assert f"[--core-opts] {task}" in capsys.readouterr().out


def test_flags_go_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(results, "status", lambda *with_: asked.append(with_))
    for line in ("status --json this", "status this --json", "status --json"):
        assert invoke(monkeypatch, line) == 0
    assert asked == [("this", True), ("this", True), (None, True)]


def test_prior_results_are_imported_and_aggregated(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    golden = PROJECT / "tests/golden/prior"
    assert invoke(monkeypatch, f"import {golden} --experiment old") == 0
    said = capsys.readouterr().out
    assert "7 runs imported, not proved" in said
    assert "set aside: scx_nest/control/hackbench_run2.csv: the file is empty" in said
    invoke(monkeypatch, "aggregate --experiment old")
    assert (tmp_path / "old" / "report.html").exists()
    assert "Imported, not proved." in " ".join(capsys.readouterr().out.split())


def test_a_name_in_a_list_of_experiments_is_checked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    for name in ("one", "two"):
        fx.Lab(tmp_path / name, fx.arms(1))
    assert invoke(monkeypatch, "aggregate --experiment one,tow") == 2
    assert "did you mean 'two'" in capsys.readouterr().err
    assert invoke(monkeypatch, "aggregate --experiment one,two") == 2
    assert "do not compare" in capsys.readouterr().err
    assert invoke(monkeypatch, "aggregate --experiment ,") == 2


def test_a_missing_requirement_is_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> None:
        raise MissingRequirement("no such thing: get it")

    monkeypatch.setattr(lab_root, "open_root", absent)
    assert invoke(monkeypatch, "build") == 4
    assert "error: no such thing: get it" in capsys.readouterr().err


@pytest.mark.parametrize("failing", ["tests/unit", "tests"])
def test_all_parts_of_the_tests_are_run_and_all_must_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    ran = []

    def pytest_(argv: list[str], cwd: Path) -> int:
        ran.append(argv[-1])
        return int(argv[-1] == failing)

    monkeypatch.setattr(dev, "foreground", pytest_)
    assert invoke(monkeypatch, "test") == 1
    assert ran == ["tests/unit", "tests"]
    assert "tests failed" in capsys.readouterr().err
    assert invoke(monkeypatch, "test --unit") == int(failing == "tests/unit")
    assert ran[2:] == ["tests/unit"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_the_remedy(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(number, os.strerror(number), "/results/e/manifest.json")

    monkeypatch.setattr(setup, "show_list", full)
    assert invoke(monkeypatch, "list") == 4
    said = capsys.readouterr().err
    assert "/results/e/manifest.json" in said
    assert "make room" in said


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **flags: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupted)
    assert invoke(monkeypatch, "run") == 130
