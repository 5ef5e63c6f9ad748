# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel that somebody has taken over may do to the machine that runs it.

Put into a guest in place of the agent, this is root there. `ATTACKS` names what it
does, once it is asked for a run; an attack that got through says so in a tick that
begins with `BROKEN`. What it did to the machine the other side looks for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.agent import frames, protocol
from experiments.agent.protocol import Event
from experiments.agent.serve import be_on_time, facts, open_port

SHARE = Path("/lab/share")
#: In the share: the name of the attack.
CHOSEN = SHARE / "code/attack"
BROKEN = "BROKEN: "
_FLOOD_S = 20.0


class Port:
    """The line to the machine."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def event(self, event: Event | str, **values: Any) -> None:
        self.raw_event({"event": event, **values})

    def raw_event(self, said: object) -> None:
        frames.send(self.fd, frames.EVENT, json.dumps(said).encode())

    def file(self, name: str, payload: bytes) -> None:
        frames.send(self.fd, name, payload)

    def bytes(self, payload: bytes) -> None:
        view = memoryview(payload)
        while view:
            view = view[os.write(self.fd, view) :]

    def broke(self, what: str) -> None:
        self.event(Event.TICK, text=f"{BROKEN}{what}")


def _tried(port: Port, what: str, attempt: Callable[..., object], *with_: Any) -> None:
    """Do what ought to fail; say so when it does not."""
    try:
        attempt(*with_)
    except (OSError, subprocess.SubprocessError):
        return
    port.broke(what)


def _command(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=20)


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


# --- the share ------------------------------------------------------------------------


def write_to_root(port: Port) -> None:
    _tried(port, "a file in the root", Path("/lab/new").write_text, "x")
    _tried(port, "passwd", os.open, "/etc/passwd", os.O_WRONLY)


def remount_root(port: Port) -> None:
    with contextlib.suppress(subprocess.SubprocessError):
        _command("mount", "-o", "remount,rw", "/")
    _tried(port, "a file in the root", Path("/usr/bin/new").write_text, "x")
    _tried(port, "a file removed", Path("/usr/bin/clang").unlink)


def mount_again(port: Port) -> None:
    Path("/tmp/again").mkdir()
    for tag in ("rootfs", "share", "lab"):
        with contextlib.suppress(subprocess.SubprocessError):
            _command("mount", "-t", "virtiofs", "-o", "rw", tag, "/tmp/again")
    _tried(port, "a file", Path("/tmp/again/etc/new").write_text, "x")


def write_to_share(port: Port) -> None:
    for name in ("new", "jobs/new", "code/new"):
        _tried(port, name, (SHARE / name).write_text, "x")


def change_code(port: Port) -> None:
    serve = SHARE / "code/experiments/agent/serve.py"
    _tried(port, "the agent's code", os.open, serve, os.O_RDWR)
    _tried(port, "the agent's code cut", os.truncate, serve, 0)
    _tried(port, "the agent's code gone", serve.unlink)


def remove_job(port: Port) -> None:
    for path in (SHARE / "jobs").rglob("*"):
        _tried(port, f"{path.name} removed", path.unlink)
        _tried(port, f"{path.name} moved", path.rename, SHARE / "moved")


def links(port: Port) -> None:
    for name in ("dmesg.log", "samples.csv", "jobs/result.json", "bin/new"):
        _tried(port, f"link {name}", os.symlink, "/etc/passwd", SHARE / name)
        _tried(port, f"hard link {name}", os.link, "/etc/hostname", SHARE / name)


def pipes(port: Port) -> None:
    for name in ("samples.csv", "jobs/samples.csv"):
        _tried(port, f"pipe {name}", os.mkfifo, SHARE / name)


def devices(port: Port) -> None:
    for number, device in enumerate((os.makedev(8, 0), os.makedev(254, 0))):
        place, mode = SHARE / f"disk{number}", stat.S_IFBLK | 0o666
        _tried(port, "a disk", os.mknod, place, mode, device)


def modes_and_owners(port: Port) -> None:
    for path in (SHARE, SHARE / "init", Path("/usr/bin/clang")):
        _tried(port, f"mode of {path}", path.chmod, 0o4777)
        _tried(port, f"owner of {path}", os.chown, path, 1, 1)
        _tried(port, f"times of {path}", os.utime, path, (1, 1))


def attributes(port: Port) -> None:
    value = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
    for name in ("user.x", "trusted.x", "security.capability", "security.x"):
        for path in (SHARE / "init", Path("/usr/bin/clang")):
            _tried(port, f"{name} of {path}", os.setxattr, path, name, value)


def guess_handles(port: Port) -> None:
    """Ask the file server for nodes by numbers that nobody has told us."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for number in range(3000):
        # struct file_handle: FILEID_INO64_GEN, a node and its generation
        handle = struct.pack("<IiQI", 12, 0x81, number, 0)
        fd = libc.open_by_handle_at(root, handle, os.O_RDONLY)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.read(fd, 16)
            os.close(fd)


def look_for_the_machine(port: Port) -> None:
    """Look for what only the machine has, in every name of the root."""
    for place, folders, names in os.walk("/"):
        if place in ("/proc", "/sys", "/dev"):
            folders[:] = []
        if "canary" in (*folders, *names):
            port.broke(f"{place}/canary is seen")


def open_everything(port: Port) -> None:
    """Have the file server know more files than it may have open."""
    kept = []
    for place, folders, names in os.walk("/usr"):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                kept.append(os.open(f"{place}/{name}", os.O_PATH))


# --- the line -------------------------------------------------------------------------


def _right(**other: Any) -> dict[str, Any]:
    said = {"outcome": "OK", "reason": "", "metrics": [_METRIC], "proof": {}}
    return {**said, "facts": {}, **other}


_METRIC = {"name": "spawns", "value": 1e9, "unit": "1/s", "lower_is_better": False}


def _forged(**other: Any) -> Callable[[Port], None]:
    """Return an attack: a result that is wrong in one way, and all else as it ought."""

    def attack(port: Port) -> None:
        port.file("result.json", json.dumps(_right(**other)).encode())
        port.event(Event.DONE)

    return attack


def result_of_brackets(port: Port) -> None:
    port.file("result.json", b"[" * 100_000)
    port.event(Event.DONE)


def event_of_brackets(port: Port) -> None:
    port.file("event", b'{"event":' * 7000)


def no_result(port: Port) -> None:
    port.event(Event.DONE)


def garbage_samples(port: Port) -> None:
    port.file("samples.csv", b"timestamp,=cmd|' /C calc'!A0\n\x1b[2J,\xff\n")
    port.file("result.json", json.dumps(_right()).encode())
    port.event(Event.DONE)


def names_with_paths(port: Port) -> None:
    for name in ("../../x", "/etc/cron.d/x", "manifest.json", "job.json"):
        port.bytes(f"scxlab/2 {name} 1 {'0' * 64}\nx".encode())


def file_twice(port: Port) -> None:
    for _ in range(2):
        port.file("dmesg.log", b"x")


def frame_that_lies(port: Port) -> None:
    port.bytes(f"scxlab/2 dmesg.log 4 {'0' * 64}\nabcd".encode())


def huge_frame(port: Port) -> None:
    port.bytes(f"scxlab/2 samples.csv 999999999 {'0' * 64}\n".encode())


def flood_without_newline(port: Port) -> None:
    for _ in _until(_FLOOD_S):
        port.bytes(b"x" * 65536)


def flood_of_files(port: Port) -> None:
    for name in (*protocol.RUN_FILES, frames.RESULT):
        port.file(name, b"\0" * frames.CAPS[name])
    port.event(Event.DONE)


def ticks_for_ever(port: Port) -> None:
    while True:
        port.event(Event.TICK, text="x" * 1000)


def ticks_for_a_terminal(port: Port) -> None:
    for text in ("[/x]", "[bold red]x", "\x1b]0;owned\x07\x1b[2J", "\r\n\x9b5A", "‮"):
        port.event(Event.TICK, text=text)
    port.event(Event.TICK, text=["no", "text"])


def drop_by_drop(port: Port) -> None:
    header = f"scxlab/2 samples.csv 60000 {'0' * 64}\n".encode()
    port.bytes(header)
    while True:
        port.bytes(b"1")
        time.sleep(0.2)


def never_answer(port: Port) -> None:
    while True:
        signal.pause()


def crash_with_a_long_story(port: Port) -> None:
    port.event(Event.CRASHED, text="\x1b[2J" + "x" * 60_000)


def close_the_line(port: Port) -> None:
    os.close(port.fd)
    signal.pause()


# --- the guest itself -----------------------------------------------------------------


def panic(port: Port) -> None:
    Path("/proc/sysrq-trigger").write_text("c")


def reboot(port: Port) -> None:
    Path("/proc/sysrq-trigger").write_text("b")


def power_off(port: Port) -> None:
    ctypes.CDLL(None).reboot(0x4321FEDC)


def flood_the_console(port: Port) -> None:
    with Path("/dev/ttyS0").open("wb", buffering=0) as console:
        for _ in _until(_FLOOD_S):
            console.write(b"\x1b]0;owned\x07" + b"x" * 4000)


def flood_the_kernel_log(port: Port) -> None:
    with Path("/dev/kmsg").open("wb", buffering=0) as log:
        for _ in _until(_FLOOD_S):
            log.write(b"<0>" + b"x" * 900)


def fork_bomb(port: Port) -> None:
    script = "f() { f | f & }; f; sleep 30"
    subprocess.Popen(["sh", "-c", script], start_new_session=True)
    signal.pause()


def fill_the_disk(port: Port) -> None:
    for folder in ("/tmp", "/run", "/dev/shm"):
        with contextlib.suppress(OSError):
            for number in range(100_000):
                Path(f"{folder}/{number}").write_bytes(b"x" * (1 << 20))
    never_answer(port)


def all_memory(port: Port) -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 24))


def hog_every_cpu(port: Port) -> None:
    """Nobody else runs any more, the kernel's own threads included."""
    be_on_time()
    for _ in range(2 * (os.cpu_count() or 1)):
        if not os.fork():
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
            while True:
                pass
    never_answer(port)


ATTACKS: dict[str, Callable[[Port], None]] = {
    f.__name__: f
    for f in (
        *(write_to_root, remount_root, mount_again, write_to_share, change_code),
        *(remove_job, links, pipes, devices, modes_and_owners, attributes),
        *(guess_handles, look_for_the_machine, open_everything, result_of_brackets),
        *(event_of_brackets, no_result, garbage_samples, names_with_paths, file_twice),
        *(frame_that_lies, huge_frame, flood_without_newline, flood_of_files),
        *(ticks_for_ever, ticks_for_a_terminal, drop_by_drop, never_answer),
        *(crash_with_a_long_story, close_the_line, panic, reboot, power_off),
        *(flood_the_console, flood_the_kernel_log, fork_bomb, fill_the_disk),
        *(all_memory, hog_every_cpu),
    )
} | {
    "forge_lost": _forged(outcome="LOST"),
    "forge_an_outcome": _forged(outcome="\x1b[31mOK"),
    "forge_without_samples": _forged(),
    "forge_unknown_keys": _forged(verdict="it holds"),
    "forge_facts_of_the_machine": _forged(facts={"lost_attempts": 0, "boot": 7}),
    "forge_flags": _forged(facts={"flags": 7}),
    "forge_infinite_metrics": _forged(metrics=[{**_METRIC, "value": 1e999}]),
    "forge_a_metric_with_a_path": _forged(metrics=[{**_METRIC, "name": "../../x"}]),
}

#: Instead of a hello, before anything was asked.
HELLOS: dict[str, object] = {
    "hello_without_facts": {"event": "hello", "protocol": protocol.VERSION},
    "hello_of_another_protocol": {"event": "hello", "protocol": "\x1b[2J", "facts": {}},
    "hello_that_is_no_object": ["hello"],
}


def main(name: str, *_: str) -> None:
    lines, fd = open_port(name)
    port, chosen = Port(fd), CHOSEN.read_text()
    if chosen in HELLOS:
        port.raw_event(HELLOS[chosen])
        never_answer(port)
    port.event(Event.HELLO, protocol=protocol.VERSION, facts=dict(facts()))
    lines.readline()
    ATTACKS[chosen](port)
    # Whatever it was, it has failed so far: nothing honest comes from here
    port.event(Event.TICK, text="done")
    no_result(port)
    never_answer(port)


if __name__ == "__main__":
    main(*sys.argv[1:])
