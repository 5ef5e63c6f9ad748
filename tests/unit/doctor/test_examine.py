# SPDX-License-Identifier: GPL-2.0-only
"""What the user sees of the doctor; the checks themselves are in test_checks.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import experiments
from experiments.doctor import diagnose, examine
from experiments.doctor.check import (
    Answer,
    Check,
    CheckStatus,
    Finding,
    broken,
    found,
    missing,
)
from experiments.doctor.diagnose import Diagnosis
from experiments.machine.stale_state import Leftover
from experiments.plan.config import Config
from tests.unit.commands.test_commands import invoke

REMEDY = "apt-get install " + "a-very-long-name-of-a-package" * 4


def check(name: str, answer: Answer, required: bool = True) -> Check:
    return Check(name, "setup, build, run", lambda: answer, required)


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "FINDERS", ())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def has(*checks: Check) -> None:
        monkeypatch.setattr(examine, "all_checks", lambda kernel: [*checks])

    return has


@pytest.mark.parametrize(
    ("answer", "required", "code"),
    [
        (found("x"), True, 0),
        (missing("x", "y"), True, 4),
        (broken("x", "y"), True, 4),
        (missing("x", "y"), False, 0),
        (broken("x", "y"), False, 0),
    ],
)
def test_the_exit_code_is_of_what_is_required(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    machine: Callable[..., None],
    answer: Answer,
    required: bool,
    code: int,
) -> None:
    machine(check("this", answer, required), check("that", found("z")))
    assert invoke(monkeypatch, "doctor") == code
    said = capsys.readouterr()
    ill = f"error: 1 of {1 + required} requirements are missing or broken: this"
    assert (ill in said.err) == (code == 4)
    assert ("What to type:\n  y  # this" in said.out) == bool(answer.remedy)


def test_80_columns_are_enough_and_remedies_are_not_folded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "/a/path/that/is/long" * 8
    answers = [found(long), missing(long, REMEDY), broken("[red]x[/red]", "y")]
    seen = [
        Finding("disk: results", a.status, a.found, "setup, build, run", a.remedy, r)
        for a in answers
        for r in (True, False)
    ]
    examine.show(seen, 80)
    lines = capsys.readouterr().out.splitlines()
    table = lines[: lines.index("What to type:")]
    assert max(map(len, table)) <= 80
    assert long in "".join(line[26:58].strip() for line in table)
    assert "[red]x[/red]" in "".join(lines)
    assert f"  {REMEDY}  # disk: results, disk: results" in lines, "once"


def test_json_is_the_list_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    machine: Callable[..., None],
) -> None:
    machine(check("this", missing("no x", "get x")), check("that", found("z"), False))
    assert invoke(monkeypatch, "doctor --json --fix") == 4
    said = capsys.readouterr()
    assert json.loads(said.out) == [
        {
            "name": "this",
            "status": "missing",
            "found": "no x",
            "needed_for": "setup, build, run",
            "remedy": "get x",
            "required": True,
        },
        {
            "name": "that",
            "status": "found",
            "found": "z",
            "needed_for": "setup, build, run",
            "remedy": "",
            "required": False,
        },
    ]
    assert "nothing to remove" in said.err


def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two things that are left behind, the second of which stays."""
    there = ["one", "two"]

    def fails() -> None:
        raise PermissionError(1, "not allowed")

    def find() -> list[Leftover]:
        by_name = {"one": lambda: there.remove("one"), "two": fails}
        return [Leftover(name, by_name[name]) for name in there]

    def breaks() -> list[Leftover]:
        raise ValueError("no such file system")

    monkeypatch.setattr(examine, "FINDERS", (breaks, find))
    return there


def test_leftovers_are_listed_and_stay_without_fix(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    machine: Callable[..., None],
) -> None:
    there = left(monkeypatch)
    machine(Check("leftovers", "", examine._leftovers, required=False))
    assert invoke(monkeypatch, "doctor") == 0
    said = capsys.readouterr().out
    assert "  invoke doctor --fix  # leftovers\n" in said
    assert "removed" not in said
    assert there == ["one", "two"]
    answer = examine._leftovers()
    failed = "the check failed: ValueError: no such file system"
    assert answer == broken(f"one\ntwo\n{failed}", examine.FIX)


def test_fix_says_what_became_of_each(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    machine: Callable[..., None],
) -> None:
    there = left(monkeypatch)
    machine()
    assert invoke(monkeypatch, "doctor --fix") == 0
    said = capsys.readouterr().out
    assert "removed: one\n" in said
    assert "NOT removed: two: [Errno 1] not allowed" in said
    assert "no such file system" in said
    assert there == ["two"]


def test_nothing_left() -> None:
    assert examine._leftovers() == found("none of ours")


def test_every_line_of_the_doctor_has_a_name_of_its_own() -> None:
    checks = examine.all_checks()
    names = [c.name for c in checks]
    assert len(set(names)) == len(names) > 20
    assert all(c.needed_for for c in checks)
    assert max(map(len, names)) <= examine._NAME_WIDTH


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("doctor --sched scx_simple --json", "leave --sched away"),
        ("doctor --sched scx_simple --fix", "leave --sched away"),
        ("doctor --cleanup scan", "give --sched"),
        ("doctor --include .", "give --sched"),
        ("doctor --sched scx_simple --include /absent", "--include /absent: there is"),
        ("doctor --sched scx_simpel", "did you mean 'scx_simple'"),
    ],
)
def test_flags_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    words: str,
) -> None:
    assert invoke(monkeypatch, line) == 2
    assert words in capsys.readouterr().err


def test_a_scheduler_is_tried_with_headers_from_several_directories(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[Config] = []

    def note(config: Config) -> list[Diagnosis]:
        tried.append(config)
        return [Diagnosis("x/control", "OK", "", "")]

    monkeypatch.setattr(diagnose, "diagnose", note)
    (tmp_path / "more").mkdir()
    flags = f"--include {tmp_path} --include {tmp_path / 'more'}"
    assert invoke(monkeypatch, f"doctor --sched scx_simple {flags}") == 0
    assert tried[0].include == (tmp_path, tmp_path / "more")


def test_a_scheduler_is_tried_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = [
        Diagnosis("x/control", "OK", "", ""),
        Diagnosis("x/test", "FAILED", "w", "m"),
    ]
    monkeypatch.setattr(diagnose, "diagnose", lambda config: iter(tried))
    assert invoke(monkeypatch, "doctor --sched scx_simple") == 1
    said = capsys.readouterr()
    assert "OK       x/control\n" in said.out
    assert "FAILED   x/test  w\n         that is: m" in said.out
    assert "1 of the variants" in said.err


def test_a_package_that_is_missing_is_named_by_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "experiments.commands", None)
    monkeypatch.delattr(experiments, "commands")
    assert invoke(monkeypatch, "list") == 4
    said = capsys.readouterr().err
    assert "error: there is no Python package experiments.commands: pip install" in said


def test_statuses_are_these() -> None:
    assert [*CheckStatus] == ["found", "missing", "broken"]
