# SPDX-License-Identifier: GPL-2.0-only
"""One spec on this kernel: load, prove, sample, run the workload, prove, unload, write.

The same code runs in a guest and on the host. One thread does everything, so no process
is forked for a sample and no sample waits for a lock.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import registry
from experiments.agent import eviction_check
from experiments.agent.sampling_cost import SamplingCosts
from experiments.agent.workload_driver import (
    Evidence,
    RunEnded,
    drive,
    workload_threads,
)
from experiments.columns import header
from experiments.errors import ExperimentError
from experiments.kernel import procfs, sched_ext, scx_dump
from experiments.kernel.kmsg import Kmsg
from experiments.kernel.scx_dump import ScxDump
from experiments.model import (
    Job,
    LoadedScheduler,
    Metric,
    Outcome,
    Round,
    RunResult,
    RunSpec,
    Sample,
)
from experiments.plugins import Sampler, Workload
from experiments.support.printable import printable, shortened

Tick = Callable[[str], None]

#: Of characters: a program may end with a line of any length.
_LONGEST_REASON = 8 << 10
#: In the proof: how many of the workload's threads the scheduler under test had at
#: mid-run, of those asked.
_SHARE = "share_of_threads_in_sched_ext"


def execute(job: Job, tick: Tick) -> RunResult:
    """Run one job and write samples.csv, dmesg.log and workload.log to its out_dir.

    Also dump.log of a scheduler that the kernel threw out.

    `tick` gets a line of progress with every sample. Never raises for what the run
    does: that is the outcome.
    """
    evidence = Evidence()
    began, cpu_began = time.monotonic(), time.process_time()
    dump = scx_dump.kept()
    dump.text()  # of a run before
    with Kmsg() as log:
        outcome, reason, metrics = _ended(job, log, evidence, tick)
        log.drain()
    if outcome.is_fault:
        reason = ": ".join(filter(None, (reason, _last_words(log, evidence))))
    if outcome is Outcome.EJECTED:
        _write_dump(job.out_dir, dump, evidence)
    wall_s = time.monotonic() - began
    evidence.facts |= {
        "wall_s": round(wall_s, 3),
        "agent_cpu_s": round(time.process_time() - cpu_began, 4),
        "harness_s": round(wall_s - job.spec.duration_s, 3),
        "kernel_records": len(log.records),
        "kernel_records_lost": log.lost,
        "ended_at_uptime_s": round(time.clock_gettime(time.CLOCK_BOOTTIME), 3),
    }
    _write(job.out_dir, evidence, [str(record) for record in log.records])
    return RunResult(
        job.spec,
        job.spec.run_id,
        outcome,
        shortened(printable(reason), _LONGEST_REASON),
        metrics,
        evidence.proof,
        evidence.facts,
    )


def _ended(
    job: Job, log: Kmsg, evidence: Evidence, tick: Tick
) -> tuple[Outcome, str, tuple[Metric, ...]]:
    """Return how the run ended, why, and its metrics."""
    try:
        return Outcome.OK, "", _measure(job, log, evidence, tick)
    except RunEnded as ended:
        return ended.outcome, str(ended), ()
    except (ExperimentError, OSError) as error:
        return Outcome.FAILED, str(error), ()


def _last_words(log: Kmsg, evidence: Evidence) -> str:
    """Return why the scheduler was thrown out: the kernel's words, or its own note."""
    note = evidence.facts.get("scheduler_exit", {})
    own = ", ".join(filter(None, (note.get("reason"), note.get("msg"))))
    return sched_ext.ejection_message(log.records) or (
        own if note.get("kind") != sched_ext.EXIT_UNREG else ""
    )


def _measure(job: Job, log: Kmsg, evidence: Evidence, tick: Tick) -> tuple[Metric, ...]:
    loader = registry.loader(job.loader)
    workload = registry.workload(job.spec.workload)
    if reasons := missing(job):
        raise RunEnded(Outcome.SKIPPED, "; ".join(reasons))
    began = time.monotonic()
    with contextlib.ExitStack() as outlive:
        with loader.loaded(job) as loaded:
            outlive.callback(lambda: evidence.facts.update(loaded.facts))
            samplers = outlive.enter_context(_samplers(job, loaded, evidence))
            evidence.facts["load_s"] = round(time.monotonic() - began, 3)
            before = _in_charge(loaded)
            _prove_and_drive(job, before, workload, samplers, log, evidence, tick)
            ended = time.monotonic()
        evidence.facts["unload_s"] = round(time.monotonic() - ended, 3)
        # Nothing changes any more, and the samplers still hold the maps
        log.drain()
        evidence.facts |= eviction_check.check(samplers, log.records)
    return (*_metrics(job.spec, workload, evidence.rounds), *evidence.metrics)


def missing(job: Job) -> list[str]:
    """Return reasons why this job cannot run on this kernel; empty when it can."""
    loader = registry.loader(job.loader)
    workload = registry.workload(job.spec.workload)
    return [*loader.missing(job), *workload.missing(job.bin_dir)]


def _in_charge(loaded: LoadedScheduler) -> sched_ext.SchedExtStatus:
    """Return what the kernel says of the scheduler that was loaded.

    Setting up the samplers takes seconds: it may have been thrown out by now.
    """
    now = sched_ext.status()
    if (now.ops, now.enabled) != (loaded.ops_name, bool(loaded.ops_name)):
        raise RunEnded(
            Outcome.EJECTED,
            f"{loaded.ops_name or 'the default scheduler'!r} was in charge, before the "
            f"first sample state is {now.state!r}, ops {now.ops!r}",
        )
    return now


def _prove_and_drive(
    job: Job,
    before: sched_ext.SchedExtStatus,
    workload: Workload,
    samplers: Sequence[Sampler],
    log: Kmsg,
    evidence: Evidence,
    tick: Tick,
) -> None:
    evidence.proof["before"] = dataclasses.asdict(before)
    evidence.proof["object_sha256"] = job.built.sha256 if job.built else None
    evidence.proof["agent"] = _apart()
    costs = SamplingCosts()

    def sample(timestamp_s: float) -> None:
        log.drain()
        now = sched_ext.status()
        if not _is_same(before, now):
            evidence.stacks = procfs.stacks(workload_threads(job.spec))
        _check_alive(before, now)
        values = {k: v for s in samplers for k, v in costs.of(s).items()}
        _check_declared(values, evidence.columns)
        evidence.samples.append(Sample(timestamp_s, values))
        if timestamp_s >= job.spec.duration_s / 2 and _SHARE not in evidence.proof:
            evidence.proof[_SHARE] = sched_ext.share_in_sched_ext(
                workload_threads(job.spec)
            )
        tick(f"{timestamp_s:.0f} s, {values.get('map_entries', '-')} entries")

    try:
        drive(job, workload, evidence, sample)
    except RunEnded:
        _look_back(samplers, evidence)
        raise
    evidence.facts["sampling"] = costs.facts()
    for sampler in samplers:
        evidence.facts |= sampler.finish()
        evidence.metrics += sampler.metrics()
    after = sched_ext.status()
    evidence.proof |= {
        "after": dataclasses.asdict(after),
        "events": sched_ext.events(),
    }
    _check_alive(before, after)


def _look_back(samplers: Sequence[Sampler], evidence: Evidence) -> None:
    """Note what samplers know of a run that went wrong, as far as they still can."""
    for sampler in samplers:
        with contextlib.suppress(OSError, ExperimentError):
            evidence.facts |= sampler.finish()


def _apart() -> Mapping[str, Any]:
    """Return facts which show that the agent is apart.

    It is no task of the scheduler under test, nor of the workload.
    """
    return {
        "pid": os.getpid(),
        "is_sched_fifo": os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
        == os.SCHED_FIFO,
        "is_in_sched_ext": bool(sched_ext.share_in_sched_ext([os.getpid()])),
        "cgroup": (procfs.PROC / "self/cgroup").read_text().strip(),
    }


@contextlib.contextmanager
def _samplers(
    job: Job, loaded: LoadedScheduler, evidence: Evidence
) -> Iterator[list[Sampler]]:
    chosen = chosen_samplers(job.spec)
    release_samplers(chosen)
    evidence.columns = header(column for kind in chosen for column in kind.columns)
    with contextlib.ExitStack() as stack:
        made = []
        for kind in chosen:
            made.append(sampler := kind(job, loaded))
            stack.callback(sampler.close)
        usable = [s for s in made if not s.missing()]
        evidence.facts["not_sampled"] = {
            s.name: list(r) for s in made if (r := s.missing())
        }
        for sampler in usable:
            evidence.facts |= sampler.facts()
        yield usable


def release_samplers(but: Sequence[type[Sampler]] = ()) -> None:
    """Have all samplers but these take out of the kernel what they keep in it."""
    for name in registry.names("sampler"):
        if (kind := registry.sampler(name)) not in but:
            kind.release()


def chosen_samplers(spec: RunSpec) -> list[type[Sampler]]:
    """Return those that the spec names, or the ones that are on by default."""
    if spec.samplers is not None:
        return [registry.sampler(name) for name in spec.samplers]
    every = [registry.sampler(name) for name in registry.names("sampler")]
    return [sampler for sampler in every if sampler.by_default]


def _check_declared(values: Mapping[str, float], columns: Sequence[str]) -> None:
    if unknown := values.keys() - set(columns):
        raise RunEnded(
            Outcome.FAILED,
            f"no sampler of this run declares the columns {', '.join(sorted(unknown))}",
        )


def _is_same(before: sched_ext.SchedExtStatus, now: sched_ext.SchedExtStatus) -> bool:
    names = ("state", "ops", "enable_seq")
    return all(getattr(before, name) == getattr(now, name) for name in names)


def _check_alive(
    before: sched_ext.SchedExtStatus, now: sched_ext.SchedExtStatus
) -> None:
    """Raise RunEnded unless the scheduler that was loaded is still in charge."""
    if not _is_same(before, now):
        raise RunEnded(
            Outcome.EJECTED,
            f"{before.ops or 'the default scheduler'!r} was in charge (enable_seq "
            f"{before.enable_seq}), now state is {now.state!r}, ops {now.ops!r}, "
            f"enable_seq {now.enable_seq}",
        )


def _metrics(
    spec: RunSpec, workload: Workload, rounds: Sequence[Round]
) -> tuple[Metric, ...]:
    try:
        return tuple(workload.parse(spec, rounds))
    except ValueError as error:
        raise RunEnded(Outcome.FAILED, str(error)) from None


def _write_dump(out_dir: Path, dump: ScxDump, evidence: Evidence) -> None:
    """Write dump.log: what the kernel dumped, or why it is not there; the stacks."""
    said = dump.text() or f"(nothing: {dump.missing or 'the kernel dumped nothing'})\n"
    stacks = evidence.stacks or "(not asked: none was running)\n"
    (out_dir / "dump.log").write_text(
        "== The kernel's dump of the scheduler (sched_ext_dump) ==\n"
        f"{said}\n"
        "== Threads of the workload when it was noticed: state, stack ==\n"
        f"{stacks}"
    )


def _write(out_dir: Path, evidence: Evidence, log: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(evidence.columns)
    writer.writerows(sample.row(evidence.columns) for sample in evidence.samples)
    (out_dir / "samples.csv").write_text(text.getvalue())
    (out_dir / "dmesg.log").write_text("".join(f"{line}\n" for line in log))
