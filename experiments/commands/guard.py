# SPDX-License-Identifier: GPL-2.0-only
"""For every task: errors become exit codes, and usage errors name the remedy."""

from __future__ import annotations

import errno
import functools
import signal
from collections.abc import Callable
from typing import ParamSpec

from invoke.exceptions import Exit
from invoke.parser.parser import ParseMachine

from experiments.errors import (
    ConfigError,
    ExperimentError,
    MissingRequirement,
    unknown_name,
)
from experiments.support.printable import printable

_P = ParamSpec("_P")
_INTERRUPTED = 130


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turn errors into a message and the exit code that belongs to them."""

    @functools.wraps(command)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **kwargs)
        except ExperimentError as error:
            raise Exit(printable(f"error: {error}"), error.exit_code) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Exit(
                f"error: {error.filename or 'a disk'}: {error.strerror}: make room, "
                "and the same command goes on",
                MissingRequirement.exit_code,
            ) from None
        except KeyboardInterrupt:
            raise Exit(
                "interrupted: finished runs are kept, the same command goes on",
                _INTERRUPTED,
            ) from None

    return wrapper


#: How invoke's message ends that a task got no name of an experiment. To invoke every
#: positional argument is required; this one may be left away: it is the newest then.
_MISSING_NAME = "required positional arguments: 'experiment'"


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _usage_error(self: ParseMachine, message: str) -> None:
    """Replace invoke's own, which names no remedy and ends with 1 and not 2."""
    context = self.context
    if message.endswith(_MISSING_NAME) or self.initial.args["help"].value:
        return
    flags = list(context.flags) + list(context.inverse_flags) if context else []
    token = message.split("'")[1] if message.count("'") >= 2 else ""
    if message.startswith("No idea what"):
        kind, valid = (
            ("flag", flags) if token.startswith("-") else ("task", self.contexts)
        )
        message = str(unknown_name(kind, token, valid))
    elif self.waiting_for_flag_value and self.flag is not None:
        message = f"--{self.flag.name} needs a value"
    raise Exit(f"error: {message}", ConfigError.exit_code)


def _handle(self: ParseMachine, token: str) -> None:
    """Replace invoke's own, which takes an unknown flag for an argument.

    And --help, too.
    """
    context = self.context
    if context is None or not token.startswith("-") or self.waiting_for_flag_value:
        _invokes_handle(self, token)
        return
    positional, context.positional_args = context.positional_args, []
    _invokes_handle(self, token)
    context.positional_args = positional


_invokes_handle = ParseMachine.handle
ParseMachine.handle = _handle  # type: ignore[method-assign]
ParseMachine.error = _usage_error  # type: ignore[method-assign,assignment]


def names(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a flag that is a list separated by commas."""
    return None if text is None else tuple(filter(None, text.split(",")))
