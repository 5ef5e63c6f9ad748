# SPDX-License-Identifier: GPL-2.0-only
"""One guest: QEMU and virtiofsd of the lab root, each in a cell, and the agent inside.

The guest's root and what it is handed are one read-only share, and all it sees of the
machine. The cells have no directory, socket or log in common with us or each other:
they are handed what they need as open descriptors. The guest's serial port is its
console, kept in a file, up to a cap; a virtio port, QEMU's own stdin and stdout, is the
line to the agent.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.agent.client import Line
from experiments.errors import BackendLost, HelperLost
from experiments.labroot import cell
from experiments.labroot.cell import Bind, Limits
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.support.capped_log import CappedLog
from experiments.support.printable import printable, shortened
from experiments.support.proc import end, killed_by, last_lines, start
from experiments.vm.qemu_command import (
    GUEST_ROOT,
    IMAGE,
    SERVER_LIMITS,
    SHARE,
    Shape,
    qemu_argv,
    qemu_limits,
    server_argv,
)

BOOT_TIMEOUT_S = 120.0
_KVM = Path("/dev/kvm")
#: The first process of a guest.
_INIT = Path(__file__).with_name("guest_init.sh")
_CONSOLE = "console.log"
_LAST_WORDS_S = 2.0
_LONGEST_WORDS = 2000

#: Who may die, in messages, and its program.
_GUEST, _SERVER = "guest", "file server"
_QEMU, _VIRTIOFSD = "qemu", "virtiofsd"
_SENT_BY = {"SIGKILL": ", which the kernel sends when memory runs out: see dmesg"}
#: What a dying kernel says: that it does, and what was wrong.
_DEATH = (re.compile(r"Kernel panic.*"), re.compile(r"(Oops|BUG|RIP):.*"))


def add_init(share: Path) -> None:
    """Put the first process of a guest into what it is handed."""
    shutil.copyfile(_INIT, share / "init")
    (share / "init").chmod(0o755)


class Guest:
    """A booted guest; `facts` are the agent's own of its kernel.

    `share` is what it is handed, read-only: the agent's code, tools, jobs. `run_dir`
    gets the console and what QEMU and virtiofsd say. With `cpus` both run on those
    alone.
    """

    def __init__(
        self,
        root: LabRoot,
        kernel: Kernel,
        shape: Shape,
        share: Path,
        run_dir: Path,
        boot_timeout_s: float = BOOT_TIMEOUT_S,
        cpus: Sequence[int] = (),
    ) -> None:
        self._pin = _taskset(cpus)
        self._root = root.path
        self._run_dir = run_dir
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, CappedLog] = {}
        self._stack = contextlib.ExitStack()
        run_dir.mkdir(parents=True, exist_ok=True)
        add_init(share)
        began = time.monotonic()
        try:
            self.line = self._start(shape, kernel, share)
            self.facts = self.line.hello(boot_timeout_s)
        except BaseException as error:
            # QEMU dies of that, too, and says no more than that it is gone
            failed = isinstance(error, BackendLost) and self._has_failed(_VIRTIOFSD)
            self.close()
            if failed:
                raise HelperLost(
                    f"the {_SERVER} failed: {self.last_words(_SERVER)}"
                ) from None
            raise
        self.boot_s = time.monotonic() - began

    @property
    def console(self) -> Path:
        return self._run_dir / _CONSOLE

    def _start(self, shape: Shape, kernel: Kernel, share: Path) -> Line:
        """Start both programs, with what each is handed; nobody keeps it but they."""
        with contextlib.ExitStack() as handed:
            listening, files = map(handed.enter_context, _connected())
            seen, shown = socket.socketpair()
            handed.enter_context(shown)
            self._logs[_CONSOLE] = CappedLog(seen.detach(), self.console)
            kvm = _open_kvm(shape, handed)
            server = self._spawn(
                _VIRTIOFSD,
                server_argv(listening.fileno()),
                [
                    Bind(self._root, GUEST_ROOT),
                    Bind(share, f"{GUEST_ROOT}{SHARE}"),
                ],
                SERVER_LIMITS,
                [listening.fileno()],
            )
            fds = [files.fileno(), shown.fileno()]
            qemu = self._spawn(
                _QEMU,
                qemu_argv(shape, files.fileno(), shown.fileno(), kvm),
                [Bind(self._readable(kernel.image), IMAGE)],
                qemu_limits(shape),
                fds if kvm is None else [*fds, kvm],
                stdio=subprocess.PIPE,
            )
        line = Line(qemu, _GUEST, self.last_words, {_SERVER: server})
        self._stack.callback(line.close)
        return line

    def _readable(self, image: Path) -> Path:
        """Return the kernel, or a copy of one that only its owner may read."""
        if image.stat().st_mode & 0o004:
            return image
        copy = self._run_dir / "kernel"
        shutil.copyfile(image, copy)
        copy.chmod(0o644)
        return copy

    def _spawn(
        self,
        name: str,
        argv: Sequence[str],
        binds: Sequence[Bind],
        limits: Limits,
        fds: Sequence[int],
        stdio: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        command = [*self._pin, *cell.command(self._root, argv, binds, limits)]
        said, saying = os.pipe()
        try:
            process = start(
                command, stdin=stdio, stdout=stdio, stderr=saying, pass_fds=fds
            )
        except BaseException:
            os.close(said)
            raise
        finally:
            os.close(saying)
        self._stack.callback(end, process)
        self._logs[name] = CappedLog(said, self._run_dir / f"{name}.log")
        self._processes[name] = process
        return process

    def _has_failed(self, program: str) -> bool:
        """Return whether it ended by itself, and not well."""
        process = self._processes.get(program)
        return process is not None and (process.poll() or 0) > 0

    def _signal_to(self, program: str) -> str:
        """Return the signal that ended a program, in words; empty if none did."""
        name = killed_by(self._processes[program])
        return name and f"{program} got {name}{_SENT_BY.get(name, '')}"

    def _end_of(self, program: str) -> str:
        """Return what ended a program: a signal, or what it said itself."""
        said = last_lines(self._text(program), 3)
        return self._signal_to(program) or said or f"{program} left no message"

    def _text(self, log: str) -> str:
        """Return what was said up to the end, if it comes to one by itself."""
        self._logs[log].join(_LAST_WORDS_S)
        return self._logs[log].text()

    def last_words(self, who: str = _GUEST) -> str:
        """Return why it died, or its file server, as far as anybody says."""
        return shortened(printable(self._last_words(who)), _LONGEST_WORDS)

    def _last_words(self, who: str) -> str:
        if who == _SERVER:
            return self._end_of(_VIRTIOFSD)
        text = self._text(_CONSOLE)
        if found := [m[0].strip() for p in _DEATH if (m := p.search(text))]:
            return ", after ".join(found)
        return self._signal_to(_QEMU) or last_lines(text, 3) or self._end_of(_QEMU)

    def close(self) -> None:
        """End QEMU and virtiofsd."""
        self._stack.close()
        for log in self._logs.values():
            log.join(_LAST_WORDS_S)


def _taskset(cpus: Sequence[int]) -> list[str]:
    """Return what keeps a command on `cpus`."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []


def _connected() -> tuple[socket.socket, socket.socket]:
    """Return a listening socket and one that is connected to it, without a path."""
    listening, other = (socket.socket(socket.AF_UNIX) for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="scxlab-socket-") as place:
        listening.bind(f"{place}/socket")
        listening.listen(1)
        other.connect(f"{place}/socket")
    return listening, other


def _open_kvm(shape: Shape, handed: contextlib.ExitStack) -> int | None:
    """Return a descriptor of /dev/kvm, if the guest is to have it."""
    if shape.accel != "kvm":
        return None
    try:
        fd = os.open(_KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HelperLost(f"{_KVM}: {error.strerror}") from None
    handed.callback(os.close, fd)
    return fd
