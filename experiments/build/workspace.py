# SPDX-License-Identifier: GPL-2.0-only
"""What one build reads and writes: copies of its sources, and one directory.

A source may have been written by a program, and a compiler does what a source asks: it
includes any file that it can open. So it runs in a cell with copies of what it needs,
and what it leaves is looked at before it is taken for an object.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.errors import BuildError
from experiments.labroot.cell import Bind, run_inside
from experiments.model import Completed
from experiments.support import tempdirs, userns
from experiments.support.files import atomic_write, let_read
from experiments.support.proc import CommandFailed

_TIMEOUT_S = 300.0
#: Where a build writes, as it sees it.
OUT = "/lab/build"
#: Of a single source, and of a directory with headers.
_MOST_FILE_MB, _MOST_TREE_MB, _MOST_FILES = 32, 128, 20_000
_MOST_RESULT_MB = 64


class Workspace:
    """Below `folder`, which is nobody else's; the lab root is at `root`."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._in = folder / "in"
        self.out = folder / "out"
        self._in.mkdir()
        self.out.mkdir()
        self._writable()

    def add(self, source: Path, place: str) -> None:
        """Copy a file, or the files below a directory, to `place` below /lab."""
        target = self._in / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            _copy_tree(source, target)
        else:
            _copy_file(source, target)

    def run(self, argv: Sequence[str]) -> Completed:
        """Run a command, whatever its status; BuildError when it takes too long."""
        let_read(self._in)
        self._writable()
        binds = [Bind(p, f"/lab/{p.name}") for p in sorted(self._in.iterdir())]
        binds.append(Bind(self.out, OUT, is_writable=True))
        try:
            return run_inside(
                self._root, argv, timeout_s=_TIMEOUT_S, binds=binds, check=False
            )
        except CommandFailed as error:
            raise BuildError(str(error)) from None

    def _writable(self) -> None:
        """Let the cell, which is nobody, write; who else could is kept out above."""
        for place, folders, _ in os.walk(self.out):
            for path in (Path(place), *(Path(place, name) for name in folders)):
                if path.stat().st_uid == os.geteuid():
                    path.chmod(0o777)

    def take(self, name: str, target: Path) -> None:
        """Put a file that a build has made to its place.

        Raises BuildError for what is no file, or too large for one.
        """
        data = _read_made(self.out / name, target.name)
        mode = 0o755 if (self.out / name).stat().st_mode & 0o100 else 0o644
        atomic_write(target, data)
        target.chmod(mode)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Workspace]:
    """A workspace, with what is in it gone at the end."""
    with tempdirs.directory("build") as folder:
        workspace = Workspace(root, folder)
        try:
            yield workspace
        finally:
            # What the cell has made may belong to another id of the user's
            userns.remove(workspace.out)


def _read_made(path: Path, name: str) -> bytes:
    """Return the bytes of a file that is one: no link, no pipe, and none too large."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BuildError(f"{name} was not made: {error.strerror}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_RESULT_MB << 20:
            raise BuildError(f"{name} is no file of at most {_MOST_RESULT_MB} MB")
        return os.pread(fd, found.st_size, 0)
    finally:
        os.close(fd)


def _copy_file(source: Path, target: Path) -> None:
    if not source.is_file() or source.stat().st_size > _MOST_FILE_MB << 20:
        raise BuildError(f"{source} is no file of at most {_MOST_FILE_MB} MB")
    shutil.copyfile(source, target)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy files and links as they are; a link is followed in the cell, if it can be.

    What is no file, as a device, is left out.
    """
    room, count = _MOST_TREE_MB << 20, 0
    for place, _, names in os.walk(source):
        there = target / Path(place).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            path, found = Path(place, name), Path(place, name).lstat()
            room, count = room - found.st_size, count + 1
            if room < 0 or count > _MOST_FILES:
                raise BuildError(
                    f"{source} holds more than {_MOST_TREE_MB} MB or {_MOST_FILES} "
                    "files: name a directory with the headers alone"
                )
            if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                shutil.copyfile(path, there / name, follow_symlinks=False)
