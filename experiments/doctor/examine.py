# SPDX-License-Identifier: GPL-2.0-only
"""`invoke doctor`: what this machine has of what the commands need."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.doctor import (
    check_host,
    check_labroot,
    check_machine,
    diagnose,
    stale_files,
    stale_processes,
)
from experiments.doctor.check import (
    Answer,
    Check,
    CheckStatus,
    Finding,
    broken,
    findings,
    found,
    words_of,
)
from experiments.errors import ConfigError, MissingRequirement, RunFailed
from experiments.machine.stale_state import Leftover
from experiments.model import Outcome
from experiments.plan.config import load_config
from experiments.support.console import console, say

FIX = "invoke doctor --fix"
#: No table is wider, even where the terminal is: the eye loses the line.
_WIDEST = 100
_NAME_WIDTH = 15
_NEEDED_WIDTH = 20
_STATUS_WIDTH = max(map(len, CheckStatus))
_COLOURS = {
    CheckStatus.FOUND: "green",
    CheckStatus.MISSING: "yellow",
    CheckStatus.BROKEN: "red",
}

Finder = Callable[[], Iterable[Leftover]]

#: What may have been left behind; processes first, as they use the rest.
FINDERS: tuple[Finder, ...] = (
    stale_processes.processes,
    stale_processes.mounts,
    stale_processes.kernel_objects,
    stale_files.files,
)


@dataclass(frozen=True)
class Tried:
    """The schedulers to try, if any are named, and what is given for them."""

    schedulers: Sequence[str] | None
    cleanups: Sequence[str] | None = None
    include: Sequence[str] = ()
    settings: Mapping[str, int] | None = None


def examine(tried: Tried, kernel: str | None, as_json: bool, fix: bool) -> None:
    """Try a scheduler if one is named, else check the machine.

    Raises RunFailed when a variant does not work, MissingRequirement when the machine
    lacks what the default backend needs.
    """
    if tried.schedulers is not None:
        if as_json or fix:
            raise ConfigError("--json and --fix are of the machine: leave --sched away")
        _try_schedulers(tried, kernel)
        return
    flags = {
        "--cleanup": tried.cleanups,
        "--include": tried.include,
        "--set": tried.settings,
    }
    for flag, given in flags.items():
        if given:
            raise ConfigError(f"{flag} is of a scheduler: give --sched, too")
    _check_machine(Path(kernel) if kernel else None, as_json, fix)


def _try_schedulers(tried: Tried, kernel: str | None) -> None:
    config = load_config(
        schedulers=tried.schedulers,
        cleanups=tried.cleanups,
        include=[*tried.include] or None,
        settings=tried.settings,
        kernel=kernel,
    )
    ill = 0
    for seen in diagnose.diagnose(config):
        say(f"{seen.outcome:8} {seen.variant}  {seen.words}".rstrip())
        if seen.meaning:
            say(f"         that is: {seen.meaning}")
        ill += seen.outcome != Outcome.OK
    if ill:
        raise RunFailed(f"{ill} of the variants do not work")


def _check_machine(kernel: Path | None, as_json: bool, fix: bool) -> None:
    # Standard output is the machine's then
    told = Console(stderr=True, highlight=False, soft_wrap=True) if as_json else console
    if fix:
        for line in _fixed():
            told.print(line, markup=False)
    with told.status("looking"):
        seen = [*findings(all_checks(kernel))]
    if as_json:
        print(as_text(seen))
    else:
        show(seen, console.width)
    if ill := [f.name for f in seen if f.is_problem]:
        raise MissingRequirement(
            f"{len(ill)} of {sum(f.required for f in seen)} requirements are missing "
            f"or broken: {', '.join(ill)}"
        )


def _fixed() -> Iterator[str]:
    """Remove what is left behind; a line for each thing."""
    removed = 0
    for find in FINDERS:
        left, failure = _search(find)
        removed += len(left)
        yield from stale_files.clean(left)
        if failure:
            yield failure
    if not removed:
        yield "nothing to remove"


def _search(find: Finder) -> tuple[list[Leftover], str]:
    """Return what is left behind, and why the search failed; the other kinds have to be
    looked for, too.
    """
    try:
        return [*find()], ""
    except Exception as error:
        return [], words_of(error)


def all_checks(kernel: Path | None = None) -> list[Check]:
    """Return what the default backend needs, then what is optional.

    `kernel` is one to boot instead of the lab root's.
    """
    return [
        *check_machine.checks(),
        *check_labroot.checks(kernel),
        *check_labroot.optional_checks(kernel),
        *check_machine.optional_checks(),
        Check("leftovers", "space, CPU time", _leftovers, required=False),
        *check_host.optional_checks(),
    ]


def _leftovers() -> Answer:
    searches = [_search(find) for find in FINDERS]
    left = [leftover.what for found_here, _ in searches for leftover in found_here]
    failures = [failure for _, failure in searches if failure]
    if left or failures:
        return broken("\n".join([*left, *failures]), FIX if left else "")
    return found("none of ours")


def as_text(seen: Iterable[Finding]) -> str:
    """Return a JSON list of objects with the fields of Finding."""
    return json.dumps([dataclasses.asdict(f) for f in seen], indent=1)


def show(seen: Sequence[Finding], width: int) -> None:
    """Show two tables no wider than `width` columns, and what to type."""
    wide = Console(highlight=False, width=min(width, _WIDEST))
    wide.print(_table("The default backend needs", [f for f in seen if f.required]))
    wide.print()
    wide.print(_table("Optional", [f for f in seen if not f.required]))
    to_do: dict[str, list[str]] = {}
    for finding in seen:
        if finding.remedy:
            to_do.setdefault(finding.remedy, []).append(finding.name)
    if to_do:
        say("\nWhat to type:")
    for remedy, names in to_do.items():
        # Not in a table: it would be folded, and copied with its folds
        say(f"  {remedy}  # {', '.join(names)}")


def _table(title: str, seen: Iterable[Finding]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge = table.show_edge = False
    table.padding = (0, 1, 0, 0)
    table.add_column("check", width=_NAME_WIDTH)
    table.add_column("", width=_STATUS_WIDTH)
    table.add_column("what there is", ratio=1, overflow="fold")
    table.add_column("needed for", width=_NEEDED_WIDTH)
    for finding in seen:
        status = Text(finding.status, _COLOURS[finding.status])
        cells = (Text(finding.name), status, Text(finding.found))
        table.add_row(*cells, Text(finding.needed_for))
    return table
