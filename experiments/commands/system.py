# SPDX-License-Identifier: GPL-2.0-only
"""`invoke system`: what of this machine disturbs measurements, and its remedy."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.errors import ConfigError, MissingRequirement, unknown_name
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


def tune(yes: bool = False, ask: Callable[[str], str] = input) -> None:
    """Give every setting the wanted value, until reset. Raises MissingRequirement.

    What makes the machine less safe only if the user says so, beforehand by `yes`.
    """
    require_root()
    wanted = [s for s in settings.SHOWN if s is not settings.ASLR]
    if yes or _may_turn_aslr_off(ask):
        wanted.append(settings.ASLR)
    tuning = Tuning()
    with tuning.held():
        _clean(tuning)
        refused = tuning.apply(TUNED, wanted)
        changes = tuning.changes(TUNED)
    for change in changes:
        say(f"{change.setting}: {change.was} -> {change.made} ({change.path})")
    for words in refused:
        say(f"not changed: {words}")
    say("invoke system reset restores it" if changes else "there was nothing to change")


_ASLR_QUESTION = """\
Shall programs lie at the same addresses each time (ASLR off)? Runs then vary less. But
everything on this machine, network services included, gets easier to break into, until
`invoke system reset` or a reboot. Turn it off? [yes/no] """


def _may_turn_aslr_off(ask: Callable[[str], str]) -> bool:
    """Ask, where there is somebody to ask and something to change."""
    row = settings.describe(settings.ASLR, _ROOT)
    if row.now == row.wanted or row.changeable != "yes":
        return True
    if sys.stdin.isatty():
        try:
            answer = ask(_ASLR_QUESTION)
        except EOFError:
            answer = ""
        if answer.strip().lower() in ("y", "yes"):
            return True
        say("aslr: left on")
    else:
        say(
            "aslr: left on, as everything on this machine would be easier to break "
            "into without it: --yes turns it off all the same"
        )
    return False


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


_ACTIONS = ("show", "tune", "reset")


def act(name: str, yes: bool = False) -> None:
    """Do the action of that name; ConfigError naming the nearest if there is none.

    `yes` answers what tune asks.
    """
    if yes and name != "tune":
        raise ConfigError(f"--yes is for tune: {name} asks nothing")
    match name:
        case "show":
            show()
        case "tune":
            tune(yes)
        case "reset":
            reset()
        case _:
            raise unknown_name("action", name, _ACTIONS)
