# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong, one class for each thing a caller does differently about it.

Every message names the thing and the remedy: it is shown to the user as it is.
``exit_code`` is what `invoke` ends with when the error reaches the top.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ExperimentError(Exception):
    """Anything a user can be told in one message, without a traceback."""

    exit_code = 1


class ConfigError(ExperimentError):
    """The request itself is wrong: a name, a key, a value, a flag."""

    exit_code = 2


class MissingRequirement(ExperimentError):
    """Something this machine lacks; the message says how to get it."""

    exit_code = 4


class BuildError(ExperimentError):
    """A source does not compile."""


class LabRootError(ExperimentError):
    """The lab root could not be made or entered."""


class LoadError(ExperimentError):
    """The kernel refused a scheduler, or took another one."""


class BackendLost(ExperimentError):
    """The place where the agent ran died: panic, Oops, hang, no end marker."""


class HelperLost(BackendLost):
    """Not the place itself died, but a process that it cannot live without."""


class FormatError(ExperimentError):
    """A file is not what its name promises."""


class RunFailed(ExperimentError):
    """At least one run of the experiment did not end OK."""


class Undecided(ExperimentError):
    """The data do not say, and whoever asked wanted to know of that, too."""

    exit_code = 3


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> ConfigError:
    """Return the error for `name` that is none of `valid`, naming the nearest ones."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return ConfigError(
        f"unknown {kind} {name!r}{hint} (there are: {', '.join(names) or 'none'})"
    )
