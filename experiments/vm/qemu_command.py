# SPDX-License-Identifier: GPL-2.0-only
"""The command lines of QEMU and its file server, all paths as inside their cells."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from experiments.labroot.cell import Limits

#: Where the file server sees what the guest has as its root.
GUEST_ROOT = "/lab/guestroot"
#: Where the guest sees what it is handed, among it its first process.
SHARE = "/lab/share"
IMAGE = "/lab/kernel"
#: The name of the virtio port that is the line to the agent.
PORT = "scxlab.agent"

_CMDLINE = (
    "console=ttyS0 quiet panic=-1 oops=panic tsc=unstable "
    f"rootfstype=virtiofs root=rootfs ro init={SHARE}/init"
)
#: What QEMU's seccomp filter denies beyond what it always does: to start programs, to
#: become somebody else, to change priorities, and old calls.
_DENIED = ("obsolete", "elevateprivileges", "spawn", "resourcecontrol")


@dataclass(frozen=True)
class Shape:
    """The virtual machine."""

    cpus: int
    memory_mb: int
    accel: str  # kvm or tcg


def qemu_argv(shape: Shape, files: int, console: int, kvm: int | None) -> list[str]:
    """Return QEMU's command line.

    `files` and `console` are descriptors of connected sockets, to the file server and
    to whoever keeps the console; `kvm` is one of /dev/kvm, which no cell has. Its
    stdin and stdout are the line to the agent.

    TCG runs a thread for each vCPU: with one for all of them nothing would run in
    parallel, and makespans would mean nothing.
    """
    memory = f"{shape.memory_mb}M"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-sandbox", ",".join(["on", *(f"{what}=deny" for what in _DENIED)])),
        *_accel(shape.accel, kvm),
        *("-smp", str(shape.cpus), "-m", memory),
        # virtiofsd reads and writes the guest's memory, so that has to be shareable
        *("-object", f"memory-backend-memfd,id=mem,size={memory},share=on"),
        *("-numa", "node,memdev=mem"),
        *("-chardev", f"socket,id=rootfs,fd={files}"),
        *("-device", "vhost-user-fs-pci,chardev=rootfs,tag=rootfs"),
        *("-display", "none", "-monitor", "none"),
        *("-chardev", f"socket,id=console,fd={console}"),
        *("-serial", "chardev:console"),
        *("-chardev", "stdio,id=agent,signal=off"),
        *("-device", "virtio-serial-pci"),
        *("-device", f"virtserialport,chardev=agent,name={PORT}"),
        *("-kernel", IMAGE, "-append", _CMDLINE),
    ]


def _accel(name: str, kvm: int | None) -> list[str]:
    if name == "tcg":
        return ["-accel", "tcg,thread=multi", "-cpu", "max"]
    assert kvm is not None
    handed = ["-add-fd", f"fd={kvm},set=1"]
    return [*handed, "-accel", "kvm,device=/dev/fdset/1", "-cpu", "host"]


def server_argv(listening: int) -> list[str]:
    """Return the file server's command line, with a socket that has a connection.

    All files belong to root in the guest, whoever has them here. What is there is known
    for ever: a job's files are there before the guest hears of them, and never change.
    The cell is its sandbox; one of its own it could not make in there.
    """
    return [
        *("/usr/libexec/virtiofsd", f"--fd={listening}", f"--shared-dir={GUEST_ROOT}"),
        *("--readonly", "--sandbox=none", "--cache=always", "--log-level=error"),
        # A descriptor for each file that the guest knows: handles are for root
        *("--inode-file-handles=never", f"--rlimit-nofile={_most_files()}"),
        *(f"--translate-{ids}=squash-host:0:0:4294967295" for ids in ("uid", "gid")),
    ]


def _most_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def qemu_limits(shape: Shape) -> Limits:
    """Return those of QEMU, whose largest file is the guest's memory.

    An emulator has more address space than memory, and no end to its CPU time.
    """
    return Limits(256, shape.memory_mb, memory_mb=None, cpu_s=None, tmp_mb=1)


#: It writes nothing, and asks /proc how many files may be open.
SERVER_LIMITS = Limits(
    processes=64,
    file_mb=0,
    memory_mb=None,
    cpu_s=None,
    tmp_mb=1,
    has_whole_proc=True,
)
