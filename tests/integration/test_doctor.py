# SPDX-License-Identifier: GPL-2.0-only
"""The doctor on this machine, and what is really left by an invoke that was killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments.labroot import cell, lab_root
from experiments.labroot.cell import Bind
from experiments.labroot.lab_root import LabRoot
from experiments.paths import RESULTS

PROJECT = Path(__file__).parents[2]
NAME = "itest-doctor"
PLACE = RESULTS / NAME
RUN = [
    *("run", "--sched", "scx_simple", "--workload", "custom-churn"),
    *("--duration", "30", "--iterations", "1", "--experiment", NAME),
]
#: Starts a program in a cell as Guest does, but so that it outlives us.
_ORPHAN = """
import json, subprocess, sys
from pathlib import Path
from experiments.labroot import cell, lab_root
binds = [cell.Bind(Path(sys.argv[1]), "/lab/share")]
command = cell.command(lab_root.place(), ["/bin/sleep", "600"], binds)
command[-1] = json.dumps({**json.loads(command[-1]), "starter": None})
null = subprocess.DEVNULL
print(subprocess.Popen(command, start_new_session=True, stdout=null, stderr=null).pid)
"""
_SCRATCH = """
import time
from experiments.support import tempdirs
with tempdirs.directory("probe") as path:
    print(path, flush=True)
    time.sleep(600)
"""
#: In namespaces of its own: a pinned map, a group with a process, a mount, all real.
_IN_KERNEL = """
import ctypes, os, struct, subprocess, sys
from pathlib import Path
from experiments.doctor import stale_processes
from experiments.doctor.stale_files import clean
from experiments.kernel import bpf, cgroup, scratch_map
from experiments.labroot import lab_root
for kind, place in (("bpf", bpf.BPFFS), ("cgroup2", cgroup.ROOT)):
    subprocess.run(["mount", "-t", kind, kind, place], check=True)
point = lab_root.place() / "lab/share"
subprocess.run(["mount", "--bind", sys.argv[1], point], check=True)
pin, group = bpf.BPFFS / "scxlab-itest", cgroup.ROOT / "scxlab-load-itest"
pin.mkdir()
group.mkdir()
with scratch_map.created(scratch_map.HASH, 8, 4) as fd:
    name = ctypes.create_string_buffer(os.fsencode(pin / "map"))
    bpf.call(6, struct.pack("=QI", ctypes.addressof(name), fd))  # BPF_OBJ_PIN
sleeper = subprocess.Popen(["sleep", "600"])
(group / "cgroup.procs").write_text(str(sleeper.pid))
for find in (stale_processes.mounts, stale_processes.kernel_objects):
    print(*clean(find()), sep="\\n")
assert not os.path.ismount(point) and not pin.exists() and not group.exists()
assert sleeper.wait(10) == -9
"""

pytestmark = pytest.mark.usefixtures("root")


@contextlib.contextmanager
def started(*argv: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        argv,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def doctor(*flags: str, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "doctor", *flags],
        cwd=PROJECT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def findings(**env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code, said, _ = doctor("--json", **env)
    return code, {f["name"]: f for f in json.loads(said)}


def wait_until(reached: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def fresh() -> Iterator[None]:
    shutil.rmtree(PLACE, ignore_errors=True)
    yield
    shutil.rmtree(PLACE, ignore_errors=True)


@pytest.fixture(scope="module")
def killed() -> list[str]:
    """Kill a run with SIGKILL; what the doctor told of leftovers while it lived."""
    with started(sys.executable, "-m", "invoke", *RUN) as run:
        stage = PLACE / ".stage/code"
        console = PLACE / ".vm/0/console.log"
        wait_until(lambda: stage.exists() and console.exists(), 120)
        children = psutil.Process(run.pid).children(recursive=True)
        left: str = findings()[1]["leftovers"]["found"]
        assert run.poll() is None
        os.kill(run.pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=10)
    return left.splitlines()


@pytest.fixture
def orphan(root: LabRoot, tmp_path: Path) -> Iterator[psutil.Process]:
    argv = [sys.executable, "-c", _ORPHAN, str(tmp_path)]
    said = subprocess.run(
        argv, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    process = psutil.Process(int(said.stdout))
    wait_until(lambda: [p.name() for p in process.children()] == ["sleep"])
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


@pytest.fixture
def left_directory() -> Iterator[Path]:
    with started(sys.executable, "-c", _SCRATCH) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        assert path.parent == Path(tempfile.gettempdir())
        assert str(path) not in findings()[1]["leftovers"]["found"], "it is in use"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_this_machine_has_what_the_vm_backend_needs() -> None:
    code, said = findings()
    assert code == 0, said
    ill = [f for f in said.values() if f["required"] and f["status"] != "found"]
    assert ill == []
    for name in ("lab root", "kernel", "qemu", "virtiofsd", "host kernel", "leftovers"):
        keys = {"name", "status", "found", "needed_for", "remedy", "required"}
        assert set(said[name]) == keys
    assert "with sched_ext, BTF, and kfuncs" in said["kernel"]["found"]


def test_without_a_lab_root_it_is_4(tmp_path: Path) -> None:
    code, said = findings(XDG_CACHE_HOME=str(tmp_path))
    assert code == 4
    for name in ("lab root", "kernel", "qemu", "virtiofsd"):
        assert said[name]["status"] == "missing"
        assert "invoke setup" in said[name]["remedy"]
    assert said["python"]["status"] == "found"


def test_a_killed_run_leaves_files_and_fix_removes_them(
    killed: list[str], orphan: psutil.Process, left_directory: Path
) -> None:
    expected = [f"{PLACE}/.vm/", f"{PLACE}/.stage/", f"{left_directory}/"]
    assert not [line for line in killed if str(PLACE) in line], "it ran then"
    attempts = {*(PLACE / "attempts").glob("*")}
    manifest = (PLACE / "manifest.json").read_bytes()

    said = findings()[1]["leftovers"]
    assert (said["status"], said["remedy"]) == ("broken", "invoke doctor --fix")
    listed = said["found"].splitlines()
    assert {*expected} <= {*listed}
    assert any(line.startswith(f"process {orphan.pid}: sleep with ") for line in listed)
    assert orphan.is_running(), "without --fix nothing is done"
    assert all(Path(path).exists() for path in expected)

    code, text, _ = doctor("--fix")
    assert code == 0
    for path in expected:
        assert f"removed: {path}\n" in text
        assert not Path(path).exists()
    assert f"removed: process {orphan.pid}: sleep with " in text
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert {*(PLACE / "attempts").glob("*")} == attempts, "attempts are data"
    assert (PLACE / "manifest.json").read_bytes() == manifest
    assert str(PLACE) not in findings()[1]["leftovers"]["found"]


def test_a_process_whose_invoke_lives_is_left_alone(
    orphan: psutil.Process, tmp_path: Path
) -> None:
    """This one's parent is the test itself, which holds the lock of the lab root."""
    argv = ["/bin/sh", "-c", "echo up > /lab/run/up; exec sleep 600"]
    tmp_path.chmod(0o777)
    binds = [Bind(tmp_path, "/lab/run", is_writable=True)]
    command = cell.command(lab_root.place(), argv, binds)
    with started(*command) as living:
        wait_until((tmp_path / "up").exists)
        listed = findings()[1]["leftovers"]["found"]
        assert f"process {orphan.pid}:" in listed
        assert f"process {living.pid}:" not in listed


def test_pins_groups_and_mounts(tmp_path: Path) -> None:
    """In namespaces of their own: the machine's are not touched."""
    spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*spaces, sys.executable, "-c", _IN_KERNEL, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"removed: mount {lab_root.place()}/lab/share",
        "removed: pin /sys/fs/bpf/scxlab-itest",
        "removed: control group /sys/fs/cgroup/scxlab-load-itest",
    ]
