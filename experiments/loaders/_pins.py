# SPDX-License-Identifier: GPL-2.0-only
"""Pins that a scheduler's program leaves below /sys/fs/bpf: found and removed.

A pin keeps its object in the kernel, a scheduler among others, after the program has
ended: on a user's machine for good, in a guest for the runs that follow. Only that goes
which was pinned since, and is of this load: a program or map of the object file that
the scheduler in charge came from, or a link of one. All objects of one load share the
id of its BTF, so no name of theirs is compared.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from experiments.kernel import bpf, procfs

_IDS = re.compile(r"^(map|prog)_id:\s*(\d+)$", re.MULTILINE)


class Pins:
    """What is pinned between now and `remove()`."""

    def __init__(self) -> None:
        self._before = _pinned()
        self._btf_ids: set[int] = set()
        self._map_ids: set[int] = set()

    def note(self, ops_name: str) -> None:
        """Take the scheduler that is in charge for that of this load."""
        name = ops_name.encode() + b"\0"
        for map_id in bpf.map_ids():
            with contextlib.suppress(FileNotFoundError), bpf.opened(map_id) as fd:
                info = bpf.map_info(fd)
                # Its value is the struct sched_ext_ops, with its name
                if info.type == bpf.STRUCT_OPS and name in bpf.lookup(
                    fd, bytes(4), info.value_size
                ):
                    self._btf_ids |= {info.btf_id} - {0}
        for btf_id in self._btf_ids:
            progs = bpf.progs_of_object(btf_id)
            self._map_ids |= {i for prog in progs for i in prog.map_ids}

    def remove(self) -> list[str]:
        """Remove the pins of this load that are there still; their paths."""
        left = sorted(p for p in _pinned() - self._before if self._is_ours(p))
        for path in left:
            path.unlink()
            _remove_empty(path.parent)
        return [str(path) for path in left]

    def _is_ours(self, path: Path) -> bool:
        """Return whether the object behind a pin is of this load.

        Of a link it is what the link attaches.
        """
        try:
            fd = bpf.open_pinned(path)
        except OSError:  # it has gone, or is no pin
            return False
        try:
            found = _IDS.findall(procfs.read(bpf.fdinfo(fd)))
            return any(self._has(kind, int(number)) for kind, number in found)
        except FileNotFoundError:
            return False
        finally:
            os.close(fd)

    def _has(self, kind: str, number: int) -> bool:
        if kind == "prog":
            return bpf.prog_info(number).btf_id in self._btf_ids
        if number in self._map_ids:
            return True
        with bpf.opened(number) as fd:
            return bpf.map_info(fd).btf_id in self._btf_ids


def _pinned() -> frozenset[Path]:
    """Return what is in bpffs, without directories, and links, which lead anywhere."""
    return frozenset(
        path
        for folder, _, names in os.walk(bpf.BPFFS)
        for name in names
        if not (path := Path(folder) / name).is_symlink()
    )


def _remove_empty(folder: Path) -> None:
    """Remove the directories that a pin was alone in."""
    with contextlib.suppress(OSError):
        while folder != bpf.BPFFS:
            folder.rmdir()
            folder = folder.parent
