# SPDX-License-Identifier: GPL-2.0-only
"""Plan -> backend -> results: every run of a plan ends in exactly one outcome.

Finished runs are kept: the same command again goes on where it was stopped. A run under
which the guest died is repeated a bounded number of times, each attempt counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from experiments import facts, kernel_image, labroot, plan, registry
from experiments.build import BIN, Builder
from experiments.config import PROJECT, Config
from experiments.console import console, say
from experiments.errors import BackendLost, ConfigError
from experiments.model import (
    Backend,
    BuiltObject,
    Job,
    Outcome,
    Plan,
    RunResult,
    RunSpec,
    digest,
)
from experiments.results import NOT_NEEDED, Experiment

RESULTS = PROJECT / "results"

#: A run is tried at most this often before it counts as LOST.
MAX_ATTEMPTS = 3
#: Beyond the workload's duration; for the estimate of --dry-run only.
_HARNESS_ESTIMATE_S = 2.0

Built = Mapping[tuple[str, str], BuiltObject]


#: treatment -> what the names of such experiments begin with
_PREFIXES = {"samplers": "ledger", "none": "aa"}

#: Whether a spec's scheduler and workload need no further block.
IsDecided = Callable[[Experiment, RunSpec], bool]


def _never(experiment: Experiment, spec: RunSpec) -> bool:
    return False


#: Facts that all runs of an experiment share. Only a new experiment may have others.
SAME = ("kernel_sha256", "accel", "vm", "labroot", "objects", "tools", "map")


def default_name(config: Config, planned: Plan, known: Mapping[str, Any]) -> str:
    """A directory name that says what it is, and differs where plan or facts do."""
    names = [*(s.name for s in config.sources()[:2]), *config.workloads[:2]]
    if prefix := _PREFIXES.get(config.treatment):
        names.insert(0, prefix)
    identity = [planned.plan_id, *(known.get(name) for name in SAME)]
    return f"{'-'.join(names)}-{digest(identity)[:6]}"


def checked_name(name: str) -> str:
    """Raises ConfigError unless `name` is that of a directory right below results/."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise ConfigError(
            f"--experiment {name}: give a plain name of letters, digits, and ._+-"
        )
    return name


def estimate_s(specs: Sequence[RunSpec]) -> float:
    return sum(s.duration_s + _HARNESS_ESTIMATE_S for s in specs)


def build_all(
    config: Config, root: labroot.LabRoot, kernel: kernel_image.Kernel
) -> Built:
    """The objects of every scheduler and variant in `config`."""
    builder = Builder(root, kernel, config.include)
    builder.tools()
    if "kfunc" in config.cleanups and config.treatment == "cleanup":
        builder.module()
    built = {}
    for source in config.sources():
        for variant, arm in plan.arms_of(config, source).items():
            built[source.name, variant] = (
                builder.scheduler(source.name, variant, arm.cleanup, arm.knobs)
                if source.is_ours
                else builder.own(source, variant, config.map)
            )
    return built


def run(
    config: Config,
    name: str | None = None,
    root_dir: Path = RESULTS,
    is_decided: IsDecided = _never,
) -> Experiment:
    """Do what is left of the experiment that `config` describes.

    Before a block is begun, `is_decided` is asked whether its scheduler and workload
    need another one.

    Raises MissingRequirement, BuildError or ConfigError before the first run; what goes
    wrong in a run is its outcome.
    """
    planned = plan.build(config)
    root = labroot.open_root()
    kernel = kernel_image.prepare(root, config.vm.kernel)
    built = build_all(config, root, kernel)
    backend = registry.backend(config.backend)(config, root, kernel)
    known = _facts(config, backend, built)
    path = root_dir / checked_name(name or default_name(config, planned, known))
    experiment = Experiment.create(
        path, planned, config.model_dump(mode="json", by_alias=True), known
    )
    _check_facts(experiment, known)
    with _locked(experiment), contextlib.ExitStack() as stack:
        pending = experiment.pending(planned.specs)
        say(_announce(experiment, planned, pending))
        if pending:
            stack.callback(backend.close)
            backend.begin(experiment)
            _announce_missing(backend, built, pending)
            _run_all(experiment, backend, built, pending, is_decided)
        experiment.record_missing()
    return experiment


def _announce(experiment: Experiment, planned: Plan, pending: Sequence[RunSpec]) -> str:
    done = len(planned.specs) - len(pending)
    where = os.path.relpath(experiment.path)
    if not pending:
        return f"{where}: all {done} runs are done (another --seed makes a new one)"
    minutes = estimate_s(pending) / 60
    kept = f", {done} done before" if done else ""
    return f"{where}: {len(pending)} runs to do{kept}, about {minutes:.1f} min"


def _announce_missing(
    backend: Backend, built: Built, pending: Sequence[RunSpec]
) -> None:
    """Say what will be SKIPPED before the first run, not in the course of a night."""
    cells = {(s.scheduler, s.variant, s.workload): s for s in reversed(pending)}
    jobs = [_job(spec, built, Path()) for spec in cells.values()]
    by_reason: dict[str, list[str]] = {}
    for label, reasons in backend.missing(jobs).items():
        by_reason.setdefault("; ".join(reasons), []).append(label.rpartition("_")[0])
    for reason, labels in by_reason.items():
        say(f"  will be SKIPPED: {', '.join(sorted(labels))}: {reason}")


def _job(spec: RunSpec, built: Built, out_dir: Path) -> Job:
    made = built.get((spec.scheduler, spec.variant))
    return Job(spec=spec, built=made, bin_dir=BIN, out_dir=out_dir)


@contextlib.contextmanager
def _locked(experiment: Experiment) -> Iterator[None]:
    """One runner at a time; the kernel drops the lock of one that died."""
    with (experiment.path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another invoke is running the experiment {experiment.path}"
            ) from None
        yield


def machine_facts(
    config: Config, root: labroot.LabRoot, kernel: kernel_image.Kernel
) -> Mapping[str, Any]:
    """What an experiment of `config` would say of the machine it runs on."""
    backend = registry.backend(config.backend)(config, root, kernel)
    return {**facts.machine(PROJECT), **backend.facts()}


def _facts(config: Config, backend: Backend, built: Built) -> Mapping[str, Any]:
    objects = {
        f"{scheduler}/{variant}": {"sha256": o.sha256, "ops": o.ops_name}
        for (scheduler, variant), o in built.items()
    }
    tools = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(BIN.iterdir())
        if not path.name.startswith(".")
    }
    used = {"objects": objects, "tools": tools, "map": config.map}
    return {**facts.machine(PROJECT), **backend.facts(), **used}


def _check_facts(experiment: Experiment, known: Mapping[str, Any]) -> None:
    """Raises ConfigError when runs done now would not compare with those before."""
    before = experiment.manifest().facts
    for name in SAME:
        if before.get(name) != known.get(name):
            raise ConfigError(
                f"{experiment.path} was begun with another {name}; its runs and new "
                "ones would not compare: give the new one another name with "
                "--experiment"
            )


def _run_all(
    experiment: Experiment,
    backend: Backend,
    built: Built,
    pending: Sequence[RunSpec],
    is_decided: IsDecided = _never,
) -> None:
    blocks = _Blocks(experiment, is_decided)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("booting", total=len(pending))
        for spec in pending:
            if not blocks.needs(spec):
                progress.advance(task)
                continue

            def tick(text: str, label: str = spec.label) -> None:
                progress.update(task, description=f"{label}: {text}")

            began = time.monotonic()
            result = _run_one(experiment, backend, built, spec, tick)
            progress.advance(task)
            say(_line(result, time.monotonic() - began))
    if blocks.unneeded:
        say(f"  decided: {len(blocks.unneeded)} of the blocks were not needed")
    unneeded = {NOT_NEEDED: sorted(blocks.unneeded)} if blocks.unneeded else {}
    experiment.update(facts={**experiment.manifest().facts, **unneeded})


class _Blocks:
    """Which blocks are done; one that was begun is always done to its end."""

    def __init__(self, experiment: Experiment, is_decided: IsDecided) -> None:
        self._experiment = experiment
        self._is_decided = is_decided
        planned = experiment.manifest().specs
        pending = {spec.run_id for spec in experiment.pending(planned)}
        self._begun = {spec.block for spec in planned if spec.run_id not in pending}
        self.unneeded: set[int] = set()

    def needs(self, spec: RunSpec) -> bool:
        if spec.block in self.unneeded:
            return False
        if spec.block not in self._begun:
            if self._is_decided(self._experiment, spec):
                self.unneeded.add(spec.block)
                return False
            self._begun.add(spec.block)
        return True


def _line(result: RunResult, wall_s: float) -> str:
    """One finished run, for the log."""
    metrics = ", ".join(f"{m.name} {m.value:.4g} {m.unit}" for m in result.metrics)
    what = metrics if result.outcome is Outcome.OK else result.reason
    what += "".join(f"  FLAGGED: {flag}" for flag in result.facts.get("flags", ()))
    return f"  {result.outcome:8} {result.spec.label}  {wall_s:.1f} s  {what}"


def _run_one(
    experiment: Experiment,
    backend: Backend,
    built: Built,
    spec: RunSpec,
    tick: Callable[[str], None],
) -> RunResult:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        began = time.monotonic()
        out_dir = experiment.new_attempt(spec)
        try:
            result = backend.execute(_job(spec, built, out_dir), tick)
        except BackendLost as error:
            result = RunResult(spec, spec.run_id, Outcome.LOST, str(error))
        if result.outcome not in (Outcome.OK, Outcome.SKIPPED):
            backend.renew()
        if result.outcome is not Outcome.LOST or attempt == MAX_ATTEMPTS:
            break
        say(f"  {spec.label}: attempt {attempt} LOST: {result.reason}")
        experiment.update(retries=experiment.manifest().retries + 1)
    turnaround = {"turnaround_s": round(time.monotonic() - began, 3)}
    result = dataclasses.replace(result, facts={**result.facts, **turnaround})
    experiment.finish(result, out_dir)
    experiment.record_missing()
    return result
