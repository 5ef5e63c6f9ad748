# SPDX-License-Identifier: GPL-2.0-only
"""Every check, in each state that can be made here without root."""

from __future__ import annotations

import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments.doctor.check import Answer, Check, CheckStatus, broken, findings, found
from experiments.errors import MissingRequirement

pytestmark = pytest.mark.usefixtures("cache")


def test_a_check_that_raises_is_broken_and_the_others_are_asked() -> None:
    def fails() -> Answer:
        raise ZeroDivisionError("by zero")

    def lacks() -> Answer:
        raise MissingRequirement("no thing: get it")

    checks = [
        Check("a", "x", fails),
        Check("b", "y", lacks),
        Check("c", "z", lambda: found("here"), required=False),
    ]
    a, b, c = findings(checks)
    assert (a.status, a.found) == (
        CheckStatus.BROKEN,
        "the check failed: ZeroDivisionError: by zero",
    )
    assert (b.status, b.found, b.needed_for) == (
        CheckStatus.BROKEN,
        "no thing: get it",
        "y",
    )
    assert (c.status, c.found, c.required) == (CheckStatus.FOUND, "here", False)
    assert (a.is_problem, c.is_problem) == (True, False)


def test_what_is_optional_is_never_ill() -> None:
    (finding,) = findings([Check("a", "x", lambda: broken("b", "c"), required=False)])
    assert not finding.is_problem
