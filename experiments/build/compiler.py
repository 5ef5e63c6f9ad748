# SPDX-License-Identifier: GPL-2.0-only
"""The compilers of the lab root, each run in a workspace of its own."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments import paths
from experiments.build import workspace
from experiments.build.object_types import ObjectTypes
from experiments.build.workspace import OUT, Workspace
from experiments.errors import BuildError
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import Completed
from experiments.support.printable import printable, shortened
from experiments.support.proc import last_lines

#: -fms-extensions: vmlinux.h of Linux 7.x has anonymous members of named types, which
#: clang otherwise drops with a mere warning.
BPF_FLAGS = (
    *("-g", "-O2", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_x86"),
    *("-fms-extensions", "-Wno-microsoft-anon-tag", "-Wall", "-Werror"),
    *("-I/lab/kernels", "-I/lab/src/schedulers/include"),
    "-I/usr/include/x86_64-linux-gnu",
)
#: Of characters, in a message and in a log.
_LONGEST_WORDS, _MOST_LOGGED = 4000, 1 << 20
#: What a source that asks for more than there is gets its compiler killed by.
_LIMITS = {
    -signal.SIGXCPU: "It took more CPU time than a build may.",
    -signal.SIGXFSZ: "It wrote a larger file than a build may.",
}


class Compiler:
    """Compiles for one kernel; every method raises BuildError with last words."""

    def __init__(self, root: LabRoot, kernel: Kernel) -> None:
        self._root = root.path
        self._vmlinux_h = kernel.folder / "vmlinux.h"

    def bpf(
        self,
        source: str,
        target: Path,
        flags: Sequence[str],
        seen: Mapping[str, Path],
    ) -> None:
        """Compile a source to a BPF object; all names are places below /lab.

        It sees what `seen` names, the kernel's types, and the headers for schedulers,
        which a user's own may use as well.
        """
        made = f"{OUT}/{target.name}"
        with self._workspace(target) as place:
            place.add(self._vmlinux_h, "kernels/vmlinux.h")
            place.add(paths.SCHEDULERS / "include", "src/schedulers/include")
            for name, path in seen.items():
                place.add(path, name)
            clang = ["clang", *BPF_FLAGS, *flags, "-c", f"/lab/{source}", "-o", made]
            _run(place, clang, target)
            # Drops DWARF, which nobody reads, and keeps BTF: 860 KB become 50
            _run(place, ["llvm-strip", "-g", made], target)
            place.take(target.name, target)

    def program(self, source: Path, target: Path, flags: Sequence[str]) -> None:
        """Compile a single file of C to a program."""
        with self._workspace(target) as place:
            place.add(source, f"src/{source.name}")
            made = f"{OUT}/{target.name}"
            _run(place, ["gcc", *flags, f"/lab/src/{source.name}", "-o", made], target)
            place.take(target.name, target)

    def module(self, root: Path, folder: Path, release: str, target: Path) -> None:
        """Build a module of the kernel `release`, whose headers are in `root`."""
        make = ["make", "-C", f"/lib/modules/{release}/build", f"M={OUT}/module"]
        with workspace.opened(root) as place:
            shutil.copytree(folder, place.out / "module")
            _run(place, [*make, "modules"], target)
            place.take(f"module/{target.name}", target)

    def types(self, target: Path) -> ObjectTypes:
        """Return the types of an object, which may be any bytes."""
        with workspace.opened(self._root) as place:
            place.add(target, f"object/{target.name}")
            argv = ["bpftool", "-j", "btf", "dump", "file"]
            said = _run(place, [*argv, f"/lab/object/{target.name}"], target)
        return ObjectTypes.parse(said)

    @contextlib.contextmanager
    def _workspace(self, target: Path) -> Iterator[Workspace]:
        """A workspace to make `target` anew."""
        target.unlink(missing_ok=True)
        with workspace.opened(self._root) as place:
            yield place


def _run(place: Workspace, argv: Sequence[str], target: Path) -> str:
    done = place.run(argv)
    if done.returncode:
        log = target.with_suffix(".log")
        said = printable(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
        log.write_text(said[:_MOST_LOGGED])
        target.unlink(missing_ok=True)
        raise BuildError(
            f"{target.name} does not build; {argv[0]}'s last words "
            f"(all in {log}):\n{_words(done)}"
        )
    return done.stdout


def _words(done: Completed) -> str:
    """Return the last words of a compiler, and what to do about some of them."""
    words = [shortened(printable(last_lines(done.stderr, 15)), _LONGEST_WORDS)]
    if limit := _LIMITS.get(done.returncode):
        words.append(limit)
    if "file not found" in words[0]:
        words.append("It sees the headers below --include DIRECTORY, and no others.")
    return "\n".join(words)
