# SPDX-License-Identifier: GPL-2.0-only
"""Tables of what was measured."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from experiments.support.console import say, show_rows, steps


def test_rows_with_other_columns_are_another_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = {"method": "x" * 150, "cpu_us": 12345.6, "n": 15_000}
    show_rows([wide, {**wide, "cpu_us": 0.25}, {"method": "late", "entries": None}])
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines == [
        ["method", "cpu_us", "n"],
        ["x" * 150, "12,346", "15,000"],
        ["x" * 150, "0.25", "15,000"],
        ["method", "entries"],
        ["late", "-"],
    ]


def test_nothing_is_shown_of_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([])
    assert capsys.readouterr().out == ""


def test_what_is_said_is_no_word_to_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("[/x] [bold]kept[/bold] \x1b[2J")
    assert capsys.readouterr().out == "[/x] [bold]kept[/bold] \\x1b[2J\n"


@pytest.mark.parametrize("step", ["[/x]", "[bold", "\x1b]0;owned\x07"])
def test_a_step_is_text_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A wrong tag ends the program that shows it."""
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr("experiments.support.console.console", terminal)
    with steps("building") as report:
        report(step)
        terminal.print("shown")
    assert "\x1b]0;" not in shown.getvalue()
