# SPDX-License-Identifier: GPL-2.0-only
"""Where a scheduler comes from: this project, a user's files, or a program.

scx_simple            a scheduler of this project, with its clean-up strategies
./mine.bpf.c          one source: control with -DTREATMENT=0, test with =1
./a.bpf.c:./b.bpf.c   any two sources or objects, control first
./mine.bpf.o          an object, control only: there is nothing to compare it with
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import paths
from experiments.errors import ConfigError, unknown_name
from experiments.model import CONTROL, TEST, Params, Variant

#: In place of a strategy, for schedulers whose clean-up is their own affair.
OWN = "own"
_SUFFIXES = (".bpf.c", ".bpf.o")


@dataclass(frozen=True)
class SchedulerSource:
    """A scheduler; ``files`` and ``commands`` are those of control and test.

    Both are empty for a scheduler of this project.
    """

    name: str
    files: tuple[Path, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def is_builtin(self) -> bool:
        return not self.files and not self.commands

    def own_variants(self) -> Iterator[tuple[Variant, Path | None]]:
        """Yield the variants of a user's scheduler, each with its file if it has one.

        What a variant is made of is among its knobs, so that it has a part in the ids
        of its runs.
        """
        for name, command in zip((CONTROL, TEST), self.commands, strict=False):
            yield Variant(name, OWN, {"command": command}), None
        for name, path in self._files_of_variants():
            yield Variant(name, OWN, _identity(path, name, len(self.files))), path

    def _files_of_variants(self) -> Iterator[tuple[str, Path]]:
        files = self.files
        if len(files) == 1 and files[0].name.endswith(".bpf.c"):
            files = (files[0], files[0])
        return zip((CONTROL, TEST), files, strict=False)


def _identity(path: Path, variant: str, files: int) -> Params:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    treated = {"treatment": int(variant == TEST)} if files == 1 else {}
    return {"source": path.name, "source_sha256": sha256, **treated}


def names() -> list[str]:
    """Return the schedulers of this project."""
    found = (paths.SCHEDULERS / "control").glob("*.bpf.c")
    return sorted(p.name.removesuffix(".bpf.c") for p in found)


def is_path(text: str) -> bool:
    return "/" in text or text.endswith(_SUFFIXES)


def from_text(text: str) -> SchedulerSource:
    """Return what `--sched TEXT` names.

    Raises ConfigError when there is no such scheduler or file.
    """
    if not is_path(text):
        if text not in names():
            raise unknown_name("scheduler", text, names())
        return SchedulerSource(text)
    if "\0" in text:
        raise ConfigError("a file name cannot hold a NUL")
    files = tuple(Path(part).resolve() for part in text.split(":"))
    if len(files) > 2:
        raise ConfigError(f"{text}: give one file, or two as control:test")
    for path in files:
        if not path.is_file():
            raise ConfigError(f"there is no file {path}")
        if not path.name.endswith(_SUFFIXES):
            raise ConfigError(f"{path} is neither a .bpf.c nor a .bpf.o file")
    stems = [p.name.removesuffix(".bpf.c").removesuffix(".bpf.o") for p in files]
    return SchedulerSource("-vs-".join(dict.fromkeys(stems)), files=files)


def from_commands(commands: Sequence[str]) -> SchedulerSource:
    """Return the scheduler that programs load themselves, control's program first."""
    if len(commands) > 2:
        raise ConfigError("give one --sched-cmd, or two: control and test")
    for command in commands:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--sched-cmd {command}: {error}") from None
        if not words:
            raise ConfigError("--sched-cmd is empty")
    stems = [Path(shlex.split(c)[0]).name for c in commands]
    return SchedulerSource("-vs-".join(dict.fromkeys(stems)), commands=tuple(commands))
