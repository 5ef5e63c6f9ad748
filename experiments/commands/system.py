# SPDX-License-Identifier: GPL-2.0-only
"""`invoke system`: what of this machine disturbs measurements, and its remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from experiments.errors import MissingRequirement, unknown_name
from experiments.machine import settings, stale_state
from experiments.machine.tuning import OF_RUN, TUNED, Tuning, require_root
from experiments.support.console import Rows, say, show_rows

_ROOT = Path("/")


def rows(root: Path = _ROOT) -> Rows:
    """Return a row of each setting: what it is, what would be better, and why."""
    found = [dataclasses.asdict(settings.describe(s, root)) for s in settings.SHOWN]
    for row in found:
        if row["setting"] == settings.IRQ.name and settings.irqbalance(root):
            row["now"] += ", and irqbalance moves them about"
    return found


def show() -> None:
    show_rows(rows())
    for change in Tuning().changes(TUNED):
        say(f"{change.setting}: tuned, {change.was} before ({change.path})")


def tune() -> None:
    """Give every setting the wanted value, until reset. Raises MissingRequirement."""
    require_root()
    tuning = Tuning()
    with tuning.held():
        _clean(tuning)
        refused = tuning.apply(TUNED, settings.SHOWN)
        changes = tuning.changes(TUNED)
    for change in changes:
        say(f"{change.setting}: {change.was} -> {change.made} ({change.path})")
    for words in refused:
        say(f"not changed: {words}")
    say("invoke system reset restores it" if changes else "there was nothing to change")


def reset() -> None:
    """Restore what tune, or an experiment that was killed, has changed."""
    require_root()
    tuning = Tuning()
    with tuning.held():
        cleaned = _clean(tuning)
        said = tuning.restore(TUNED)
        left = tuning.changes(TUNED)
    for words in said if said or cleaned else ["there was nothing to restore"]:
        say(words)
    if left:
        raise MissingRequirement(
            f"{len(left)} settings could not be restored: see above; the same again "
            "tries once more"
        )


def _clean(tuning: Tuning) -> list[str]:
    """Put away what an experiment that was killed has left, and say so."""
    found = [*stale_state.clean(), *tuning.restore(OF_RUN)]
    for words in found:
        say(f"left by an invoke that was killed: {words}")
    return found


_ACTIONS: dict[str, Callable[[], None]] = {"show": show, "tune": tune, "reset": reset}


def act(name: str) -> None:
    """Do the action of that name; ConfigError naming the nearest if there is none."""
    if name not in _ACTIONS:
        raise unknown_name("action", name, _ACTIONS)
    _ACTIONS[name]()
