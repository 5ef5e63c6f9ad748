# SPDX-License-Identifier: GPL-2.0-only
"""What a program of the lab root can reach, and what a source gets of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.build.builder import Builder
from experiments.errors import BuildError, ExperimentError
from experiments.labroot.cell import COMPILERS, Bind, Limits, run_inside
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuildRequest, Variant
from experiments.paths import BUILD
from experiments.plan.scheduler_source import OWN
from experiments.support.proc import CommandFailed

SECRET = "the machine's own"


def shell(
    root: LabRoot, script: str, *binds: Bind, limits: Limits = COMPILERS
) -> tuple[int, str]:
    """Return the status of a script in a cell, and what it printed."""
    done = run_inside(
        root.path,
        ["sh", "-c", script],
        timeout_s=60,
        binds=binds,
        limits=limits,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def shown(tmp_path: Path) -> Bind:
    """A directory that is seen and not to be written."""
    folder = tmp_path / "shown"
    folder.mkdir()
    (folder / "x").write_text("x")
    return Bind(folder, "/lab/src")


@pytest.fixture
def written(tmp_path: Path) -> Bind:
    folder = tmp_path / "written"
    folder.mkdir()
    folder.chmod(0o777)
    return Bind(folder, "/lab/build", is_writable=True)


def test_it_is_nobody_and_can_become_no_other(root: LabRoot) -> None:
    status, said = shell(root, "cat /proc/self/status; unshare --user true")
    assert status != 0
    lines = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(lines[name], 16) == 0, name
    assert lines["NoNewPrivs"] == "1"
    assert "0" not in lines["Uid"].split() + lines["Gid"].split()
    assert lines["Groups"].split() in ([], [lines["Gid"].split()[0]])


@pytest.mark.parametrize(
    "script",
    [
        "echo x > /lab/src/x",
        "echo x > /lab/src/new",
        "rm /lab/src/x",
        "ln /lab/src/x /lab/src/y",
        "chmod 777 /lab/src/x",
        "touch /usr/bin/new",
        "echo x > /lab/new",
        "mount -t tmpfs tmpfs /mnt",
        "mount -o remount,rw /",
        "mknod /tmp/null c 1 3",
        "umount /proc",
        "chroot / true",
        "kill -0 -- -1",
        "ls /sys/kernel",
        "cat /proc/cmdline",
        "cat /proc/sys/kernel/hostname",
        "cat /proc/1/root/etc/shadow",
        "dmesg",
    ],
)
def test_it_cannot(root: LabRoot, shown: Bind, script: str) -> None:
    status, said = shell(root, f"{script} && echo DONE", shown)
    assert "DONE" not in said
    assert status != 0
    assert [p.name for p in shown.seen.iterdir()] == ["x"]
    assert (shown.seen / "x").read_text() == "x"


def test_it_sees_itself_alone(root: LabRoot, shown: Bind) -> None:
    listing = "ls /proc | grep -c ^[0-9]; ls /dev; ls /lab; ls /root 2> /dev/null"
    _, said = shell(root, listing, shown)
    count, *names = said.split()
    assert int(count) <= 4
    nodes = {"fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom"}
    assert {*names} == {*nodes, "zero", "src"}
    _, said = shell(root, "cat /proc/self/net/dev /proc/self/mountinfo")
    assert [line.split(":")[0].strip() for line in said.splitlines()[2:3]] == ["lo"]
    assert str(shown.seen.parent) not in said


def test_what_it_writes_is_there(root: LabRoot, written: Bind) -> None:
    assert shell(root, "echo made > /lab/build/x", written)[0] == 0
    assert (written.seen / "x").read_text() == "made\n"


def test_limits_hold(root: LabRoot, written: Bind) -> None:
    limits = Limits(processes=20, file_mb=1, memory_mb=256, cpu_s=2, tmp_mb=1)

    def limited(script: str) -> tuple[int, str]:
        return shell(root, script, written, limits=limits)

    assert limited("exec head -c 2M /dev/zero > /lab/build/big")[0] != 0
    assert (written.seen / "big").stat().st_size == 1 << 20
    twice = "head -c 900k /dev/zero > /tmp/a; cp /tmp/a /tmp/b"
    assert "No space left" in limited(twice)[1]
    fork = "for i in $(seq 40); do sleep 5 & done; echo ALL"
    assert "ALL" not in limited(fork)[1]
    assert limited("exec python3 -c 'bytearray(1 << 29)'")[0] != 0
    assert limited("exec python3 -c 'while True: pass'")[0] != 0


def test_what_it_prints_for_ever_has_an_end(root: LabRoot) -> None:
    status, said = shell(root, "exec yes", limits=Limits(file_mb=1, cpu_s=20))
    assert status != 0
    assert len(said) <= 2 << 20, "of both streams"


def test_nothing_of_it_is_left_when_time_is_up(root: LabRoot, written: Bind) -> None:
    script = "(sleep 1; while :; do touch /lab/build/alive; sleep 0.1; done) & sleep 60"
    with pytest.raises(CommandFailed, match="did not end within 3 s"):
        run_inside(root.path, ["sh", "-c", script], timeout_s=3, binds=[written])
    alive = written.seen / "alive"
    assert alive.exists(), "it ran"
    alive.unlink()
    fd = os.open(written.seen, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    assert not alive.exists()


# --- sources --------------------------------------------------------------------------

BODY = """
#include <scx.bpf.h>
char _license[] SEC("license") = "GPL";
{what}
"""


@pytest.fixture
def attack(builder: Builder, tmp_path: Path) -> Callable[..., bytes]:
    """Builds a user's source; the bytes of its object."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/neighbour.h").write_text(f'char x[] = "{SECRET}";')

    def build(what: str, body: str = BODY) -> bytes:
        source = tmp_path / "home/attack.bpf.c"
        source.write_text(body.format(what=what, home=tmp_path / "home"))
        request = BuildRequest("attack", Variant("control", OWN, {}), source)
        with pytest.raises(ExperimentError) as caught:
            builder.build(request)
        assert SECRET not in str(caught.value)
        assert not (BUILD / "own-attack_control.bpf.o").exists()
        log = BUILD / "own-attack_control.bpf.log"
        said = log.read_bytes() if log.exists() else b""
        assert SECRET.encode() not in said
        assert len(said) <= 1 << 20
        return str(caught.value).encode() + said

    return build


INCBIN = 'asm(".section x\\n.incbin \\"{path}\\"\\n.previous");'


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/shadow", "/proc/cmdline", "/proc/1/environ", "/proc/self/environ"),
        *("{home}/neighbour.h", "../../../../../etc/hostname", "neighbour.h"),
        *("/dev/kmsg", "/root/.ssh/id_rsa", "/sys/kernel/notes"),
    ],
)
def test_no_file_of_the_machine_is_included(
    attack: Callable[..., bytes], path: str, tmp_path: Path
) -> None:
    path = path.format(home=tmp_path / "home")
    if path != "/proc/self/environ":
        assert b"attack" in attack(f'#include "{path}"')
    said = attack(INCBIN.replace("{path}", path) + " no_scheduler;")
    assert b"root:" not in said


def test_a_neighbour_needs_include_and_the_error_says_so(
    attack: Callable[..., bytes],
) -> None:
    assert b"--include DIRECTORY" in attack('#include "neighbour.h"')


@pytest.mark.parametrize(
    "what",
    [
        '#include "/lab/user/attack.bpf.c"',
        "#define A(x) x x x x x x x x x x\n#define B(x) A(A(A(A(A(A(A(x)))))))\n"
        "int y = B(B(B(1+)))1;",
        'asm(".fill 4000000000, 1, 0");',
        'asm(".macro m\\nm\\n.endm\\nm");',
        "#pragma clang __debug crash",
        "#pragma clang __debug parser_crash",
    ],
)
def test_a_compiler_that_is_kept_busy_ends(
    attack: Callable[..., bytes], what: str
) -> None:
    attack(what)


def test_words_of_a_source_are_no_words_for_a_terminal(
    attack: Callable[..., bytes],
) -> None:
    assert b"\x1b" not in attack('#error "\x1b]0;owned\x07\x1b[2J"')


def test_a_generated_block_is_looked_at_before_it_is_compiled(
    attack: Callable[..., bytes],
) -> None:
    block = "/* EVOLVE-BLOCK-START */\n{what}\n/* EVOLVE-BLOCK-END */\n"
    words = attack(INCBIN.replace("{path}", "/etc/passwd"), BODY + block)
    assert b"asm in a generated block" in words
    assert b"closes what was opened elsewhere" in attack("}}", BODY + block)


def test_garbage_is_an_error(attack: Callable[..., bytes]) -> None:
    assert issubclass(BuildError, ExperimentError)
    attack("\0\0\0")
