# SPDX-License-Identifier: GPL-2.0-only
"""What the ways to count a map cost on this kernel, and how late a sampler gets.

Runs inside the lab root, needs root and a bpffs, and prints a line of JSON for every
single measurement; sampling_bench.py starts it and makes the rows of them.

All ways are measured in turn, round after round, each round beginning with another one:
whatever disturbs the machine for a while disturbs all of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.agent.run_job import chosen_samplers
from experiments.agent.sample_clock import Deadlines
from experiments.agent.serve import be_on_time
from experiments.errors import RunFailed
from experiments.kernel import bpf, cgroup, map_count, procfs, scratch_map
from experiments.model import NO_CLEANUP, BuiltObject, Job, LoadedScheduler, RunSpec
from experiments.plugins import Sampler
from experiments.support.proc import CommandFailed, end, run, start

#: Entries -> measurements of each way in a round. What takes long is measured less.
SIZES = {16_384: 3, 100_000: 2, 1_000_000: 1}
ROUNDS = 5
VALUE_SIZE = 24

DUMP_AND_GREP = "bpftool map dump | grep -c key:"
DUMP_AS_JSON = "bpftool -j map dump, json.loads"
#: What other samplers do.
PEERS = (DUMP_AND_GREP, DUMP_AS_JSON)
SAMPLE = "our whole sample"
WOKEN_SAMPLE = "our whole sample, timer-woken"

_COMMAND_TIMEOUT_S = 900.0
#: Quick ways are repeated until a measurement takes about this long.
_MEASUREMENT_S = 0.05
_MOST_REPEATS = 1000
_WAKES, _WAKE_PERIOD_S = 25, 0.02

LATENESS_S, INTERVAL_S = 20.0, 0.1
_LOAD = ("stress-ng", "--fork", "4", "--cpu", "2", "--quiet")
_LOAD_TIMEOUT_S = 30.0
#: The load is on when it has created that many tasks.
_LOAD_FORKS = 100

Way = Callable[[], int | None]

_SELF, _CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def say(**measured: Any) -> None:
    print(json.dumps(measured), flush=True)


def cpu_s(*whose: int) -> float:
    """Return CPU time used, user and system.

    By default with that of reaped children.
    """
    used = map(resource.getrusage, whose or (_SELF, _CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


# --- the ways -------------------------------------------------------------------------


def dump_and_grep(map_id: int) -> int:
    """Count as shell samplers do.

    0 on maps with BTF, which bpftool prints otherwise.
    """
    script = f"bpftool map dump id {map_id} | grep -c key:"
    return int(run(["sh", "-c", script], timeout_s=_COMMAND_TIMEOUT_S).stdout)


def dump_as_json(map_id: int) -> int:
    argv = ["bpftool", "-j", "map", "dump", "id", str(map_id)]
    return len(json.loads(run(argv, timeout_s=_COMMAND_TIMEOUT_S).stdout))


@contextlib.contextmanager
def counters_of(fd: int, bin_dir: Path) -> Iterator[dict[str, map_count.EntryCounter]]:
    """By name, those that this kernel has."""
    info = bpf.map_info(fd)
    with contextlib.ExitStack() as stack:
        made = {}
        for method in map_count.METHODS:
            with contextlib.suppress(OSError, CommandFailed):
                counter = method(fd, info, bin_dir)
                stack.callback(counter.close)
                made[counter.name] = counter
        yield made


@contextlib.contextmanager
def samplers_of(fd: int, job: Job, counters: int) -> Iterator[list[Sampler]]:
    """The default samplers, as if both maps were of a scheduler's programs.

    Its cgroup is the root of the tree, if that accounts memory; that of the workload is
    an empty one.
    """
    infos = [bpf.map_info(fd) for fd in (fd, counters)]
    group = cgroup.ROOT if (cgroup.ROOT / "memory.stat").exists() else None
    loaded = LoadedScheduler("bench", {info.name: info.id for info in infos}, group)
    with contextlib.ExitStack() as stack:
        made = []
        for kind in chosen_samplers(job.spec):
            made.append(sampler := kind(job, loaded))
            stack.callback(sampler.close)
        yield [sampler for sampler in made if not sampler.missing()]


def sampled(samplers: Sequence[Sampler]) -> Mapping[str, float]:
    return {k: v for sampler in samplers for k, v in sampler.sample().items()}


def made_up_job(bin_dir: Path, counters: Mapping[str, int]) -> Job:
    """Return a job of a scheduler in control; `counters` as in BuiltObject."""
    spec = RunSpec("x", "x", NO_CLEANUP, "x", 1, 1, 1, 1, 1.0, {}, {})
    built = BuiltObject(
        path=Path("bench"),
        sha256="",
        ops_name="bench",
        cleanup=NO_CLEANUP,
        tasks_map="tasks",
        counters_map=".bss.counters",
        counters=counters,
        record={},
    )
    return Job(spec, built, bin_dir, Path("/tmp"))


@dataclass(frozen=True)
class Subject:
    """A full map of this size, and all ways to count it; the last one is `sample`."""

    entries: int
    ways: Mapping[str, Way]
    samplers: Sequence[Sampler]

    def check(self, name: str, found: int | None) -> None:
        if found != self.entries:
            raise RunFailed(f"{name} counts {found} of {self.entries} entries")


@contextlib.contextmanager
def subject(entries: int, job: Job, counters: int) -> Iterator[Subject]:
    created = scratch_map.created(
        scratch_map.HASH, VALUE_SIZE, entries, scratch_map.NO_PREALLOC, "tasks"
    )
    job = dataclasses.replace(job, spec=dataclasses.replace(job.spec, run=entries))
    with contextlib.ExitStack() as stack:
        fd = stack.enter_context(created)
        scratch_map.put(fd, range(entries))
        map_id = bpf.map_info(fd).id
        ways: dict[str, Way] = {
            DUMP_AND_GREP: lambda: dump_and_grep(map_id),
            DUMP_AS_JSON: lambda: dump_as_json(map_id),
        }
        counters_here = stack.enter_context(counters_of(fd, job.bin_dir))
        ways |= {name: counter.count for name, counter in counters_here.items()}
        if cgroup.available():
            load = cgroup.workload_group(job.spec.run_id)
            stack.enter_context(cgroup.group(load.name))
        samplers = stack.enter_context(samplers_of(fd, job, counters))
        ways[SAMPLE] = lambda: int(sampled(samplers)["map_entries"])
        yield Subject(entries, ways, samplers)


# --- their cost -----------------------------------------------------------------------


def repeats_for(way: Way) -> int:
    """Return how many calls fit, by the first one, which warms the caches."""
    began = time.perf_counter()
    way()
    once_s = time.perf_counter() - began
    return max(1, min(_MOST_REPEATS, int(_MEASUREMENT_S / once_s)))


def measure(of: Subject, name: str, repeats: int) -> None:
    cpu, wall = cpu_s(), time.perf_counter()
    for _ in range(repeats):
        found = of.ways[name]()
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    of.check(name, found)
    each = 1e6 / repeats
    say(method=name, entries=of.entries, cpu_us=cpu * each, wall_us=wall * each)


def measure_woken(of: Subject) -> None:
    """Measure as a sampler really works: asleep in between, with cold caches.

    The CPU time includes going to sleep and waking up, the wall time does not.
    """
    cpu, wall = cpu_s(), 0.0
    for _ in range(_WAKES):
        time.sleep(_WAKE_PERIOD_S)
        began = time.perf_counter()
        sampled(of.samplers)
        wall += time.perf_counter() - began
    each = 1e6 / _WAKES
    cpu = cpu_s() - cpu
    say(
        method=WOKEN_SAMPLE,
        entries=of.entries,
        cpu_us=cpu * each,
        wall_us=wall * each,
    )


def measure_all(subjects: Sequence[Subject]) -> None:
    repeats = {
        (of.entries, name): 1 if name in PEERS else repeats_for(way)
        for of in subjects
        for name, way in of.ways.items()
    }
    for number in range(ROUNDS):
        for of in subjects:
            say(step=f"round {number + 1} of {ROUNDS}, {of.entries:,} entries")
            names = list(of.ways)
            first = number % len(names)
            for name in (names[first:] + names[:first]) * SIZES[of.entries]:
                measure(of, name, repeats[of.entries, name])
            for _ in range(SIZES[of.entries]):
                measure_woken(of)


# --- lateness -------------------------------------------------------------------------


@contextlib.contextmanager
def load() -> Iterator[None]:
    """stress-ng on the machine, which begins when it forks."""
    before = procfs.forks()
    process = start(_LOAD)
    try:
        deadline = time.monotonic() + _LOAD_TIMEOUT_S
        while procfs.forks() < before + _LOAD_FORKS:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RunFailed("stress-ng puts no load on the machine")
            time.sleep(INTERVAL_S)
        yield
    finally:
        end(process)


def lateness(policy: str, sample: Callable[[], object]) -> None:
    """Measure how long after its deadline each sample begins.

    One that is taken for several deadlines is as late as it is for the first of
    them.
    """
    clock = Deadlines(LATENESS_S, INTERVAL_S)
    late_us: list[float] = []
    cpu = cpu_s(_SELF)
    while not clock.over():
        due = len(late_us) + clock.missed
        if (elapsed := clock.due()) is not None:
            late_us.append((elapsed - due * INTERVAL_S) * 1e6)
            sample()
        time.sleep(clock.next_in_s())
    say(
        policy=policy,
        late_us=late_us,
        missed=clock.missed,
        cpu_percent=100 * (cpu_s(_SELF) - cpu) / LATENESS_S,
    )


def measure_lateness(of: Subject) -> None:
    with load():
        say(step="lateness at SCHED_FIFO, stress-ng beside it")
        be_on_time()
        lateness("SCHED_FIFO 1", lambda: sampled(of.samplers))
        say(step="lateness at SCHED_OTHER, stress-ng beside it")
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        lateness("SCHED_OTHER", lambda: sampled(of.samplers))


def main(bin_dir: Path, counters: Mapping[str, int]) -> None:
    job = made_up_job(bin_dir, counters)
    size = max(counters.values()) + 8
    with contextlib.ExitStack() as stack:
        array = stack.enter_context(
            scratch_map.created(scratch_map.ARRAY, size, 1, 0, ".bss.counters")
        )
        say(step="filling the maps")
        subjects = [stack.enter_context(subject(n, job, array)) for n in SIZES]
        samplers = subjects[0].samplers
        names = [sampler.name for sampler in samplers]
        say(samplers=names, columns=list(sampled(samplers)))
        measure_all(subjects)
        measure_lateness(subjects[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
