# SPDX-License-Identifier: GPL-2.0-only
"""How long the threads of the workload wait for a CPU, by schedlat.bpf.c.

And how long any other thread of the system waited at the most. Waits that go on when
the run ends count as long as they are by then: a task that starves to the end is the
worst case.

The programs stay attached between runs, and measure nobody then. Each attaching and
detaching patches the kernel's scheduler while it runs, which under emulation has once
killed a guest (Linux 7.2, int3 in __schedule as bpf_link_put_deferred took the program
off sched_switch).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.columns import Column, Kind
from experiments.kernel import bpf, cgroup
from experiments.kernel.bpf import BPFFS
from experiments.model import Job, LoadedScheduler, Metric
from experiments.plugins import Sampler
from experiments.samplers._histogram import FINE, bounds, highest, quantile
from experiments.support.proc import CommandFailed, last_lines, run

OBJECT_NAME = "schedlat.bpf.o"
_PROGS = BPFFS / "scxlab-schedlat"
_MAPS = BPFFS / "scxlab-schedlat-maps"
_SEED = _PROGS / "schedlat_seed"
#: All that is pinned: less of it is there only if loading was cut short.
_PINS = (
    _SEED,
    *(_PROGS / f"schedlat_{name}" for name in ("switch", "wakeup", "wakeup_new")),
    *(_MAPS / f"schedlat_{name}" for name in ("fine", "hist", "measured", "waits")),
)
_NOBODY = 0
_BUCKETS = 160
_HISTOGRAM = struct.Struct(f"={4 + _BUCKETS}Q")
_MEASURED = struct.Struct("=QQ")
#: since_ns, pid, of_workload
_WAIT = struct.Struct("=QII")
_FIRST_KEY = bytes(4)
_COUNT = struct.Struct("=Q")
_LOAD_TIMEOUT_S = 60
#: The metric of threads that are not the workload's.
SYSTEM_WAIT = "system_wait_max"
_WHOSE = ("workload", "system")
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def _wait(name: str, which: str) -> Column:
    meaning = f"{which} from runnable to running, of the workload's threads"
    return Column(f"latency_{name}_us", "us", meaning, Kind.INTERVAL)


@dataclass(frozen=True)
class Waits:
    """What has been counted; maxima are of all time, the buckets add up.

    ``max_ns`` is that of the workload, ``system_max_ns`` of all others.
    """

    max_ns: int
    system_max_ns: int
    buckets: tuple[int, ...]

    def since(self, before: Waits) -> list[int]:
        return [
            now - then for now, then in zip(self.buckets, before.buckets, strict=True)
        ]


def added_up(raw: bytes) -> Waits:
    """Return the histograms of all CPUs as one."""
    rows = list(_HISTOGRAM.iter_unpack(raw))
    sums = [sum(column) for column in zip(*rows, strict=True)]
    longest, of_system = (max(row[n] for row in rows) for n in (2, 3))
    return Waits(longest, of_system, tuple(sums[4:]))


def longest_open(raw: bytes, now_ns: int, from_ns: int) -> tuple[int, int]:
    """Return the longest waits that go on, of the workload and of all others.

    What waited before `from_ns` counts from then on.
    """
    longest = [0, 0]
    for since_ns, _, of_workload in _WAIT.iter_unpack(raw):
        if since_ns:
            waited_ns = now_ns - max(since_ns, from_ns)
            which = 0 if of_workload else 1
            longest[which] = max(longest[which], waited_ns)
    return longest[0], longest[1]


class SchedLatencySampler(Sampler):
    name = "sched-latency"
    by_default = True
    columns = (
        _wait("p50", "median wait"),
        _wait("p90", "90th percentile of waits"),
        _wait("p99", "99th percentile of waits"),
        _wait("max", "longest wait"),
        Column("latency_count", "waits", "waits that those are of", Kind.INTERVAL),
        Column(
            "system_wait_max_us",
            "us",
            "longest wait that ended, of threads beside the workload's",
            Kind.PEAK,
        ),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._reasons: Sequence[str] = ()
        self._group = cgroup.workload_group(job.spec.run_id)
        self._stack = contextlib.ExitStack()
        self._begun = False
        self._last = Waits(0, 0, (0,) * _BUCKETS)
        self._from_ns = 0
        self._longest: Mapping[str, float] = dict.fromkeys(_WHOSE, 0.0)
        if not cgroup.available():
            self._reasons = ("no cgroup v2, by which the workload is told apart",)
            return
        try:
            self._load(job.bin_dir / OBJECT_NAME)
        except (CommandFailed, OSError) as error:
            self._stack.close()
            self._reasons = (f"the kernel refuses {OBJECT_NAME}: {_short(error)}",)

    def _load(self, path: Path) -> None:
        if not all(pin.exists() for pin in _PINS):
            self.release()  # what is there was not loaded to its end
            load = ("bpftool", "prog", "loadall", path, _PROGS)
            run([*load, "pinmaps", _MAPS, "autoattach"], timeout_s=_LOAD_TIMEOUT_S)
        self._hist = self._open("schedlat_hist")
        self._fine = self._open("schedlat_fine")
        self._waits = self._open("schedlat_waits")
        self._target = self._open("schedlat_measured")
        self._stack.callback(self._measure, _NOBODY)
        self._size = _HISTOGRAM.size * bpf.possible_cpus()
        self._measure(_NOBODY)
        self._seed()
        bpf.update(self._hist, _FIRST_KEY, bytes(self._size))
        # Setting thousands of elements to 0 takes longer than subtracting what is there
        self._fine_before = self._read_fine()

    def _seed(self) -> None:
        """Have those who wait already, perhaps since before we looked, begin to."""
        link = bpf.open_pinned(_SEED)
        try:
            with os.fdopen(bpf.open_iterator(link), "rb") as every_task:
                every_task.read()
        finally:
            os.close(link)

    def _measure(self, group_id: int) -> None:
        self._from_ns = time.monotonic_ns()
        bpf.update(self._target, _FIRST_KEY, _MEASURED.pack(group_id, self._from_ns))

    @classmethod
    def release(cls) -> None:
        for pins in (_PROGS, _MAPS):
            shutil.rmtree(pins, ignore_errors=True)

    def _open(self, name: str) -> int:
        fd = bpf.open_pinned(_MAPS / name)
        self._stack.callback(os.close, fd)
        return fd

    def missing(self) -> Sequence[str]:
        return self._reasons

    def _read(self) -> Waits:
        return added_up(bpf.lookup(self._hist, _FIRST_KEY, self._size))

    def _read_fine(self) -> list[int]:
        """Return the counts of the fine histogram, of all CPUs together."""
        values = bpf.walk_values(self._fine, bpf.map_info(self._fine))
        return [sum(n for (n,) in _COUNT.iter_unpack(value)) for value in values]

    def sample(self) -> Mapping[str, float]:
        if not self._begun:
            # The first sample comes when the workload's cgroup is there, and empty
            self._measure(self._group.stat().st_ino)
            self._begun = True
        waits = self._read()
        counts = waits.since(self._last)
        self._last = waits
        values = {f"latency_{k}_us": v for k, v in _quantiles_us(counts).items()}
        longest = highest(counts)
        if longest is not None:
            values["latency_max_us"] = min(longest, waits.max_ns) / 1000
        values["system_wait_max_us"] = waits.system_max_ns / 1000
        return {**values, "latency_count": sum(counts)}

    def _longest_us(self) -> Mapping[str, float]:
        """Return the longest waits of the run, those that go on now among them."""
        now_ns = time.monotonic_ns()
        raw = b"".join(bpf.walk_values(self._waits, bpf.map_info(self._waits)))
        going_on = longest_open(raw, now_ns, self._from_ns)
        ended = self._read()
        pairs = zip((ended.max_ns, ended.system_max_ns), going_on, strict=True)
        return dict(zip(_WHOSE, (max(pair) / 1000 for pair in pairs), strict=True))

    def finish(self) -> Mapping[str, Any]:
        self._longest = self._longest_us()
        used = [(n, count) for n, count in enumerate(self._last.buckets) if count]
        spans = [bounds(bucket) for bucket, _ in used]
        return {
            "longest_wait_us": self._longest,
            "run_queue_latency": {
                "from_us": [low / 1000 for low, _ in spans],
                "to_us": [high / 1000 for _, high in spans],
                "count": [count for _, count in used],
            },
        }

    def metrics(self) -> Sequence[Metric]:
        pairs = zip(self._read_fine(), self._fine_before, strict=True)
        counts = [now - before for now, before in pairs]
        found = [
            Metric(f"run_queue_latency_{name}", ns / 1000, "us", True, ns / FINE / 1000)
            for name, q in _QUANTILES.items()
            if (ns := quantile(counts, q, FINE)) is not None
        ]
        longest = {SYSTEM_WAIT: self._longest["system"]}
        if found or self._longest["workload"]:
            longest = {"run_queue_latency_max": self._longest["workload"], **longest}
        found += [Metric(name, us, "us", True, 0.0) for name, us in longest.items()]
        return found

    def close(self) -> None:
        self._stack.close()


def _quantiles_us(counts: Sequence[int]) -> dict[str, float]:
    found = {name: quantile(counts, q) for name, q in _QUANTILES.items()}
    return {name: ns / 1000 for name, ns in found.items() if ns is not None}


def _short(error: Exception) -> str:
    return last_lines(str(error), 3)


SAMPLER = SchedLatencySampler
