# SPDX-License-Identifier: GPL-2.0-only
"""Which processes, mounts and kernel objects are ours and dead; processes are made up.

Real ones are in tests/integration/test_doctor.py.
"""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments.doctor import stale_files, stale_processes
from experiments.kernel import cgroup, procfs
from experiments.labroot import cell
from experiments.labroot.cell import Bind
from experiments.machine import stale_state, tuning
from experiments.machine.tuning import Tuning

_File = namedtuple("_File", "path")
_Mount = namedtuple("_Mount", "mountpoint")


class Process:
    """As much of psutil.Process as is asked."""

    def __init__(
        self,
        pid: int,
        argv: Sequence[str] = (),
        exe: str = "",
        parents: Sequence[Process] = (),
        opened: Sequence[Path] = (),
        tty: str | None = None,
        error: Exception | None = None,
    ) -> None:
        self.pid = pid
        self.info = {"pid": pid, "cmdline": [*argv], "exe": exe}
        self._parents = [*parents]
        self._opened = [_File(str(path)) for path in opened]
        self._tty = tty
        self._error = error
        self.killed = 0

    def parents(self) -> list[Process]:
        if self._error:
            raise self._error
        return self._parents

    def open_files(self) -> list[Any]:
        return self._opened

    def terminal(self) -> str | None:
        return self._tty

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache; every process is in the PID namespace of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "RUN_DIR", tmp_path / "run")
    monkeypatch.setattr(stale_processes, "_namespace", lambda pid: "pid:[1]")
    monkeypatch.setattr(procfs, "lock_holders", lambda lock: {os.getpid()})
    return tmp_path / "scxlab"


def holds(monkeypatch: pytest.MonkeyPatch, lock: Path, *pids: int) -> None:
    """These processes hold this lock, and nobody any other."""
    monkeypatch.setattr(
        procfs,
        "lock_holders",
        lambda path: {os.getpid(), *(pids if path == lock else ())},
    )


def there_are(monkeypatch: pytest.MonkeyPatch, *processes: Process) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda attrs=None: iter(processes))
    monkeypatch.setattr(psutil, "wait_procs", lambda some, timeout: (some, []))


def entered(cache: Path, run_dir: str = "/r/.vm") -> list[str]:
    """The command line of virtiofsd as Guest starts it."""
    argv = ["/usr/libexec/virtiofsd", "--fd=3"]
    binds = [Bind(Path(run_dir), "/lab/share")]
    return cell.command(cache / "labroot-abc", argv, binds)


INIT = Process(1)


def found() -> list[str]:
    return [left.what for left in stale_processes.processes()]


def test_without_a_living_invoke_it_is_an_orphan(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    orphan = Process(50, entered(cache), "", [INIT])
    there_are(monkeypatch, INIT, orphan)
    (left,) = stale_processes.processes()
    assert left.what == "process 50: virtiofsd with /r/.vm"
    assert [*stale_files.clean([left])] == [f"removed: {left.what}"]
    assert orphan.killed == 1


def test_one_that_an_invoke_started_lives(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    invoke = Process(40, ["python3", "invoke"])
    holds(monkeypatch, cache / ".lock", 40)
    there_are(monkeypatch, Process(50, entered(cache), "", [invoke, INIT]))
    assert found() == []


def test_the_lock_of_another_cache_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    other = Process(40)
    holds(monkeypatch, cache.parent / "other/.lock", 40)
    there_are(monkeypatch, Process(50, entered(cache), "", [other, INIT]))
    assert len(found()) == 1


def test_where_locks_are_not_told_nothing_is_certain(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    there_are(monkeypatch, Process(50, entered(cache), "", [INIT]))
    assert len(found()) == 1
    monkeypatch.setattr(procfs, "lock_holders", lambda lock: set())
    assert found() == []


def test_one_started_by_hand_lives(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    shell = Process(40, ["bash"], tty="/dev/pts/1")
    there_are(monkeypatch, Process(50, entered(cache), "", [shell, INIT]))
    assert found() == []


def test_what_is_not_ours(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    entering = entered(cache)
    there_are(
        monkeypatch,
        Process(2),
        Process(50, entered(cache.parent / "other"), "", [INIT]),
        Process(51, ["/usr/libexec/virtiofsd", "--fd=3"], "", [INIT]),
        Process(52, ["bash"], f"{cache}/labroot-abc/usr/bin/bash", [INIT]),
        Process(53, [*entering[:-1], "{"], "", [INIT]),
        Process(54, [*entering[:-1], '{"argv": [], "root": 7}'], "", [INIT]),
        Process(55, ["vi", f"{cache}/labroot-abc/lab/init"], "/usr/bin/vi", [INIT]),
        Process(56, ["unshare", "ls", f"{cache}/labroot-abc"], "", [INIT]),
    )
    assert found() == []


def test_setup_that_was_killed(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    argv = ["unshare", "--", "mmdebstrap", "forky", f"{cache}/.labroot-abc.7"]
    there_are(monkeypatch, Process(50, argv, "", [INIT]))
    assert found() == ["process 50: mmdebstrap"]


def test_processes_of_a_container_are_its_own(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(stale_processes, "_namespace", lambda pid: f"pid:[{pid == 50}]")
    there_are(monkeypatch, Process(50, entered(cache), "", [INIT]))
    assert found() == []


@pytest.mark.parametrize("error", [psutil.NoSuchProcess(50), psutil.AccessDenied(50)])
def test_what_cannot_be_known_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, cache: Path, error: Exception
) -> None:
    there_are(monkeypatch, Process(50, entered(cache), "", [INIT], error=error))
    assert found() == []


def test_one_that_has_a_parent_again_or_does_not_die(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    orphan = Process(50, entered(cache), "", [INIT])
    there_are(monkeypatch, orphan)
    monkeypatch.setattr(psutil, "wait_procs", lambda some, timeout: ([], some))
    (line,) = stale_files.clean(stale_processes.processes())
    assert line.endswith("it does not die within 10 s")
    found_before = [*stale_processes.processes()]
    orphan._parents = [Process(40, tty="/dev/pts/1")]
    (line,) = stale_files.clean(found_before)
    assert "NOT removed: " in line
    assert orphan.killed == 1


def test_who_runs(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    lock = cache / ".lock"
    there_are(
        monkeypatch,
        *(INIT, Process(os.getpid(), opened=[lock]), Process(40, opened=[lock])),
        Process(41, opened=[Path("/home/ann/.cache/scxlab/.lock")]),
        Process(42, opened=[Path("/home/ann/results/x/.lock")]),
    )
    assert stale_processes.running() == [40, 41]


def test_who_runs_on_the_host_without_a_lab_root(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    there_are(monkeypatch, INIT)
    with Tuning(cache.parent, tuning.RUN_DIR).held():
        assert stale_processes.running() == [os.getpid()]
    assert stale_processes.running() == []


def test_mounts(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    inside = f"{cache}/labroot-abc/proc"
    points = ["/", "/proc", f"{cache}/labroot-abc/dev", inside, f"{inside}/x"]
    monkeypatch.setattr(
        psutil, "disk_partitions", lambda all: [_Mount(p) for p in points]
    )
    unmounted: list[str] = []
    monkeypatch.setattr(stale_processes, "_umount", unmounted.append)
    left = stale_processes.mounts()
    assert [m.what for m in left] == [f"mount {p}" for p in reversed(points[2:])]
    assert len([*stale_files.clean(left)]) == 3
    assert unmounted == [*reversed(points[2:])]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """bpffs and cgroup2 as directories, which hold things of ours and of others."""
    for name in ("bpf/scxlab-abc", "bpf/other", "cg/scxlab-abc", "cg/scxlab-load-abc"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("bpf/scxlab-abc/link", "bpf/scxlab_timer", "bpf/other/link"):
        (tmp_path / name).touch()
    monkeypatch.setattr(stale_state, "BPFFS", tmp_path / "bpf")
    monkeypatch.setattr(stale_state, "TRACEFS", tmp_path / "tracing")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "cg")
    monkeypatch.setattr(cgroup, "kill", lambda path: None)
    monkeypatch.setattr(stale_processes, "running", list)
    return tmp_path


def test_kernel_objects(kernel: Path) -> None:
    left = stale_processes.kernel_objects()
    assert [x.what for x in left] == [
        f"pin {kernel}/bpf/scxlab-abc",
        f"pin {kernel}/bpf/scxlab_timer",
        f"control group {kernel}/cg/scxlab-abc",
        f"control group {kernel}/cg/scxlab-load-abc",
    ]
    assert all(x.startswith("removed: ") for x in stale_files.clean(left))
    assert stale_processes.kernel_objects() == []
    assert (kernel / "bpf/other/link").exists()


def test_while_an_invoke_runs_they_may_be_its_own(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stale_processes.kernel_objects()
    monkeypatch.setattr(stale_processes, "running", lambda: [40])
    assert stale_processes.kernel_objects() == []
    lines = [*stale_files.clean(before)]
    assert len(lines) == 4
    assert all("NOT removed" in x and "pid 40" in x for x in lines)
    assert (kernel / "bpf/scxlab-abc/link").exists()
