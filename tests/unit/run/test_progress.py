# SPDX-License-Identifier: GPL-2.0-only
"""What is shown of a run may come from a guest."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from experiments.run import progress
from experiments.run.progress import RunProgress
from experiments.store.experiment import Experiment


@pytest.mark.parametrize("text", ["[/x]", "[bold", "\x1b]0;owned\x07"])
def test_a_tick_is_text_on_a_terminal(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A wrong tag ends the program that shows it."""
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=200)
    monkeypatch.setattr(progress, "console", terminal)
    specs = experiment.manifest().specs
    seen = RunProgress(experiment, specs)
    with seen.showing():
        seen.begins(specs[0], 1)
        seen.tick(specs[0], text)
        seen._progress.refresh()
    if not text.startswith("\x1b"):
        assert text in shown.getvalue()
