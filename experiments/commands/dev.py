# SPDX-License-Identifier: GPL-2.0-only
"""The project's own checks: test and lint."""

from __future__ import annotations

import sys

from experiments import paths
from experiments.errors import RunFailed
from experiments.support.console import say
from experiments.support.proc import foreground

#: Tests by what they need; each of tests/ is in one of them.
_TESTS = {
    "units": ("-n", "logical", "--maxprocesses=4", "--dist=loadfile", "tests/unit"),
    # One after another: what they boot and measure has the machine to itself
    "kernel and browser": ("--ignore=tests/unit", "tests"),
}


def test(unit: bool) -> None:
    """Run the tests: all parts, whatever the others say."""
    wanted = ["units"] if unit else [*_TESTS]
    failed = []
    for part in wanted:
        say(f"tests: {part}")
        if foreground([sys.executable, "-m", "pytest", *_TESTS[part]], paths.PROJECT):
            failed.append(part)
    if failed:
        raise RunFailed(f"tests failed: {', '.join(failed)}")


def lint() -> None:
    """Check format, style and types."""
    for argv in (
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
    ):
        if foreground([sys.executable, "-m", *argv], paths.PROJECT):
            raise RunFailed(f"{argv[0]} found something: see above")
