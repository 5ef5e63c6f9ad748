# SPDX-License-Identifier: GPL-2.0-only
"""The texts of the kernel, as they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.kernel import cgroup, kmsg, procfs, sched_ext
from experiments.kernel.kmsg import Kmsg, KmsgRecord
from experiments.support.locks import Mode, hold

MEMINFO = "MemTotal:        2017620 kB\nMemFree:         1895924 kB\n"
STAT = "cpu  1 2 3\nctxt 44\nprocesses 5120\nprocs_running 2\n"


def test_fields() -> None:
    assert procfs.field_after(MEMINFO, "MemFree:") == 1895924
    assert procfs.field_after(STAT, "processes ") == 5120


def test_a_kept_file_is_read_anew_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text("x" * 200_000)
    file = procfs.KeptFile(path)
    assert len(file.text()) == 200_000
    path.write_text("processes 7\n")
    assert file.text() == "processes 7\n"
    file.close()


CPUS = """\
cpu  300 0 100 1000 100 0 0 0 50 0
cpu0 200 0 50 500 50 0 0 0 50 0
cpu1 100 0 50 500 50 0 0 0 0 0
intr 12345 0 0
"""


def test_busy_and_idle_time_of_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stat").write_text(CPUS)
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    first, second = procfs.cpu_times()
    assert first == procfs.CpuTime(250, 550), "guest time is part of user time"
    assert second == procfs.CpuTime(150, 550)
    assert first.busy_percent_since(first) == 0
    assert first.busy_percent_since(procfs.CpuTime(150, 250)) == 25


MOUNTINFO = """\
21 1 0:20 / / rw - virtiofs rootfs rw
30 21 0:29 / /sys/fs/bpf rw,relatime shared:4 - bpf bpf rw
31 21 0:30 / /tmp rw - tmpfs tmpfs rw
32 31 0:31 / /tmp rw - bpf bpf rw,mode=700
"""


def test_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(MOUNTINFO)
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    places = ("/", "/sys/fs/bpf", "/tmp", "/sys/fs")
    found = [procfs.mounted_at(Path(place)) for place in places]
    assert found == ["virtiofs", "bpf", "bpf", ""]


def test_a_missing_field_is_an_error_not_zero() -> None:
    with pytest.raises(KeyError):
        procfs.field_after(MEMINFO, "Slab:")


def test_kmsg_record() -> None:
    raw = '6,1234,5000123,-;sched_ext: BPF scheduler "x" enabled\n SUBSYSTEM=cpu\n'
    record = kmsg.parse(raw)
    assert record == KmsgRecord(1234, 5000123, 'sched_ext: BPF scheduler "x" enabled')
    assert str(record) == '[    5.000123] sched_ext: BPF scheduler "x" enabled'


@given(st.text(max_size=50).filter(lambda t: "\n" not in t))
def test_any_text_survives(text: str) -> None:
    assert kmsg.parse(f"4,1,2,-,caller=T1;{text}").text == text


class FakeDevice:
    """read(2) of /dev/kmsg: a record a call, then EAGAIN; EPIPE after an overrun."""

    def __init__(self, *items: str | type[OSError]) -> None:
        self.items = list(items)

    def read(self, fd: int, size: int) -> bytes:
        if not self.items:
            raise BlockingIOError
        item = self.items.pop(0)
        if isinstance(item, str):
            return item.encode()
        raise item


def drained(monkeypatch: pytest.MonkeyPatch, *items: str | type[OSError]) -> Kmsg:
    with Kmsg(Path(os.devnull)) as log:
        monkeypatch.setattr(os, "read", FakeDevice(*items).read)
        log.drain()
        monkeypatch.undo()
    return log


def test_records_lost_to_an_overrun_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = drained(monkeypatch, "6,10,1,-;a", BrokenPipeError, "6,14,2,-;b")
    assert [r.text for r in log.records] == ["a", "b"]
    assert log.lost == 3


def test_nothing_is_lost_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drained(monkeypatch, "6,10,1,-;a", "6,11,2,-;b").lost == 0


def test_the_kernels_words_of_an_ejection() -> None:
    texts = [
        "random: crng init done",
        'sched_ext: BPF scheduler "bad" enabled',
        'sched_ext: BPF scheduler "bad" disabled (runnable task stall)',
        "sched_ext: bad: stress-ng[42] failed to run for 3.1s",
        "   scx_watchdog_workfn+0x1a/0x20",
    ]
    records = [KmsgRecord(i, i, text) for i, text in enumerate(texts)]
    words = sched_ext.ejection_message(records)
    assert words.startswith('BPF scheduler "bad" disabled (runnable task stall)')
    assert "stress-ng[42] failed to run" in words
    assert sched_ext.ejection_message(records[:2]) == ""


def test_an_orderly_end_is_no_ejection() -> None:
    text = 'sched_ext: BPF scheduler "x" disabled (unregistered from user space)'
    assert sched_ext.ejection_message([KmsgRecord(1, 1, text)]) == ""


def test_status_of_a_kernel_without_a_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("disabled\n")
    (tmp_path / "enable_seq").write_text("3\n")
    monkeypatch.setattr(sched_ext, "SYSFS", tmp_path)
    assert sched_ext.status() == sched_ext.SchedExtStatus("disabled", "", 3, 0, 0)
    assert not sched_ext.status().enabled


def test_waiting_ends_with_the_last_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("disabling\n")
    monkeypatch.setattr(sched_ext, "SYSFS", tmp_path)
    last = sched_ext.wait_for(lambda s: s.state == "disabled", deadline_s=0.05)
    assert last.state == "disabling"


def test_who_holds_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    assert procfs.lock_holders(lock) == set()
    lock.touch()
    inode = lock.stat().st_ino
    (tmp_path / "locks").write_text(
        f"1: FLOCK  ADVISORY  READ 40 fe:00:{inode} 0 EOF\n"
        f"1: -> FLOCK  ADVISORY  WRITE 41 fe:00:{inode} 0 EOF\n"
        f"2: POSIX  ADVISORY  WRITE 42 fe:00:{inode + 1} 0 EOF\n"
        f"3: FLOCK  ADVISORY  READ 43 00:1b:{inode} 0 EOF\n"
    )
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    assert procfs.lock_holders(lock) == {40, 43}


def test_the_kernel_says_that_we_hold_a_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    assert procfs.lock_holders(lock) == set()
    handle = hold(lock, Mode.SHARED)
    assert procfs.lock_holders(lock) == {os.getpid()}
    os.close(handle)


def test_a_process_is_in_a_group_for_a_time_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("1:name=systemd:/x\n0::/home\n")
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "cg")
    home, group = tmp_path / "cg/home", tmp_path / "cg/group"
    for path in (home, group):
        path.mkdir(parents=True)
    with pytest.raises(SystemExit), cgroup.inside(group):
        assert (group / "cgroup.procs").read_text() == "0"
        assert not (home / "cgroup.procs").exists()
        raise SystemExit
    assert (home / "cgroup.procs").read_text() == "0"
