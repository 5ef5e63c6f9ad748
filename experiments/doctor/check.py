# SPDX-License-Identifier: GPL-2.0-only
"""What a check of the machine is, and what it finds."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from experiments.errors import ExperimentError


class CheckStatus(enum.StrEnum):
    """FOUND is there and in order; BROKEN is there, or in the way, and is not."""

    FOUND = "found"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Answer:
    """What a check saw; ``remedy`` is what to type, empty when nothing has to be."""

    status: CheckStatus
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of `invoke doctor`, and one object of `invoke doctor --json`.

    ``required``: the default backend does not work without it. ``needed_for``: the
    commands that need it.
    """

    name: str
    status: CheckStatus
    found: str
    needed_for: str
    remedy: str
    required: bool

    @property
    def is_problem(self) -> bool:
        return self.required and self.status is not CheckStatus.FOUND


@dataclass(frozen=True)
class Check:
    """A question to the machine. ``look`` may raise: that, too, is an answer."""

    name: str
    needed_for: str
    look: Callable[[], Answer]
    required: bool = True


def found(text: str) -> Answer:
    return Answer(CheckStatus.FOUND, text)


def missing(text: str, remedy: str) -> Answer:
    return Answer(CheckStatus.MISSING, text, remedy)


def broken(text: str, remedy: str) -> Answer:
    return Answer(CheckStatus.BROKEN, text, remedy)


def findings(checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield what every check says, in their order."""
    for check in checks:
        try:
            answer = check.look()
        except Exception as error:  # whatever it is: the others have to be asked, too
            answer = broken(words_of(error), "")
        yield Finding(
            check.name,
            answer.status,
            answer.found,
            check.needed_for,
            answer.remedy,
            check.required,
        )


def words_of(error: Exception) -> str:
    """Return what to tell of a check that failed.

    Our own errors name thing and remedy.
    """
    if isinstance(error, ExperimentError):
        return str(error)
    return f"the check failed: {type(error).__name__}: {error}".removesuffix(": ")
