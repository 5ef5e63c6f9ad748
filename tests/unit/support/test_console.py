# SPDX-License-Identifier: GPL-2.0-only
"""Tables of what was measured."""

from __future__ import annotations

import pytest

from experiments.support.console import show_rows


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
