# SPDX-License-Identifier: GPL-2.0-only
"""One guest: QEMU and two virtiofsd of the lab root, and the agent inside.

The root is served read-only; one directory of the machine is shared for reading and
writing and is all the guest sees of it. The guest's first serial port is its console,
kept in a file; its second, QEMU's own stdin and stdout, is the line to the agent.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.agent.client import Line
from experiments.errors import HelperLost
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot, enter, inside_env, killed_by
from experiments.support.proc import end, last_lines, start

BOOT_TIMEOUT_S = 120.0
_SOCKET_TIMEOUT_S = 15.0
_POLL_S = 0.02
_CONSOLE = "console.log"

_CMDLINE = (
    "console=ttyS0 quiet panic=-1 oops=panic tsc=unstable "
    "rootfstype=virtiofs root=rootfs ro init=/lab/init"
)
#: Who may die, in messages, and its program.
_GUEST, _QEMU = "guest", "qemu"
_OF_ROOT, _OF_SHARE = "file server of the root", "file server of the share"
_PROGRAMS = {_OF_ROOT: "virtiofsd-rootfs", _OF_SHARE: "virtiofsd-share"}
_SENT_BY = {"SIGKILL": ", which the kernel sends when memory runs out: see dmesg"}
#: What a dying kernel says: that it does, and what was wrong.
_DEATH = (re.compile(r"Kernel panic.*"), re.compile(r"(Oops|BUG|RIP):.*"))


@dataclass(frozen=True)
class Shape:
    """The virtual machine."""

    cpus: int
    memory_mb: int
    accel: str  # kvm or tcg


def qemu_argv(shape: Shape, image: str) -> list[str]:
    """Return QEMU's command line, all paths as inside the lab root.

    TCG runs a thread for each vCPU: with one for all of them nothing would run in
    parallel, and makespans would mean nothing.
    """
    accel, cpu = {
        "kvm": ("kvm", "host"),
        "tcg": ("tcg,thread=multi", "max"),
    }[shape.accel]
    memory = f"{shape.memory_mb}M"
    shares: list[str] = []
    for tag in ("rootfs", "share"):
        shares += ["-chardev", f"socket,id={tag},path=/lab/run/{tag}.sock"]
        shares += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-accel", accel, "-cpu", cpu, "-smp", str(shape.cpus), "-m", memory),
        # virtiofsd reads and writes the guest's memory, so that has to be shareable
        *("-object", f"memory-backend-memfd,id=mem,size={memory},share=on"),
        *("-numa", "node,memdev=mem"),
        *shares,
        *("-display", "none", "-monitor", "none"),
        *("-chardev", f"file,id=console,path=/lab/run/{_CONSOLE}"),
        *("-chardev", "stdio,id=agent,signal=off"),
        *("-serial", "chardev:console", "-serial", "chardev:agent"),
        *("-kernel", image, "-append", _CMDLINE),
    ]


def _taskset(cpus: Sequence[int]) -> list[str]:
    """Return what keeps a command on `cpus`."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []


class Guest:
    """A booted guest; `facts` are the agent's own of its kernel.

    `run_dir` gets the sockets, the console and the logs of QEMU and virtiofsd. With
    `cpus` all three run on those alone.
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
        self._stack = contextlib.ExitStack()
        run_dir.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            servers = {
                _OF_ROOT: self._serve(
                    "rootfs", root.path, "--cache=always", "--readonly"
                ),
                _OF_SHARE: self._serve("share", share, "--cache=auto"),
            }
            qemu = self._start_qemu(shape, kernel)
            self.line = Line(qemu, _GUEST, self.last_words, servers)
            self._stack.callback(self.line.close)
            self.facts = self.line.hello(boot_timeout_s)
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - began

    @property
    def console(self) -> Path:
        return self._run_dir / _CONSOLE

    def _spawn(
        self,
        name: str,
        argv: Sequence[str],
        binds: Mapping[str, Path],
        stdio: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._run_dir / f"{name}.log").open("wb"))
        inside = enter(self._root, argv, {"/lab/run": self._run_dir, **binds})
        command = [*self._pin, *inside]
        process = start(
            command, stdin=stdio, stdout=stdio, stderr=log, env=inside_env()
        )
        self._stack.callback(end, process)
        self._processes[name] = process
        return process

    def _serve(
        self, tag: str, directory: Path, *options: str
    ) -> subprocess.Popen[bytes]:
        inside = {"rootfs": "/lab/guestroot", "share": "/lab/share"}[tag]
        socket = self._run_dir / f"{tag}.sock"
        socket.unlink(missing_ok=True)
        argv = [
            *("/usr/libexec/virtiofsd", f"--socket-path=/lab/run/{tag}.sock"),
            *(f"--shared-dir={inside}", "--sandbox=none", "--log-level=error"),
            *options,
        ]
        process = self._spawn(f"virtiofsd-{tag}", argv, {inside: directory})
        deadline = time.monotonic() + _SOCKET_TIMEOUT_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise HelperLost(
                    f"virtiofsd did not start: {self._end_of(f'virtiofsd-{tag}')}"
                )
            time.sleep(_POLL_S)
        return process

    def _start_qemu(self, shape: Shape, kernel: Kernel) -> subprocess.Popen[bytes]:
        inside = f"/lab/kernels/{kernel.image.name}"
        return self._spawn(
            _QEMU,
            qemu_argv(shape, inside),
            {"/lab/kernels": kernel.image.parent},
            stdio=subprocess.PIPE,
        )

    def _text(self, file: str) -> str:
        path = self._run_dir / file
        return path.read_text(errors="replace") if path.exists() else ""

    def _signal_to(self, program: str) -> str:
        """Return the signal that ended a program, in words; empty if none did."""
        name = killed_by(self._processes[program], self._text(f"{program}.log"))
        return name and f"{program} got {name}{_SENT_BY.get(name, '')}"

    def _end_of(self, program: str) -> str:
        """Return what ended a program: a signal, or what it said itself."""
        said = last_lines(self._text(f"{program}.log"), 3)
        return self._signal_to(program) or said or f"{program} left no message"

    def last_words(self, who: str = _GUEST) -> str:
        """Return why it died, or one of its file servers, as far as anybody says."""
        if who != _GUEST:
            return self._end_of(_PROGRAMS[who])
        text = self._text(_CONSOLE)
        if found := [m[0].strip() for p in _DEATH if (m := p.search(text))]:
            return ", after ".join(found)
        return self._signal_to(_QEMU) or last_lines(text, 3) or self._end_of(_QEMU)

    def close(self) -> None:
        """End QEMU and virtiofsd. What the guest wrote to the share is there already:
        its writes go through to the machine one by one.
        """
        self._stack.close()
