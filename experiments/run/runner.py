# SPDX-License-Identifier: GPL-2.0-only
"""Config -> an experiment that is done: build, check, and execute what is pending.

Finished runs are kept: the same command again goes on where it was stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import paths, registry
from experiments.build.builder import Builder
from experiments.errors import ConfigError
from experiments.labroot import kernel_image
from experiments.labroot import root as labroot
from experiments.machine import facts
from experiments.model import Lane, Plan, RunSpec, digest
from experiments.plan import blocks
from experiments.plan.config import Config
from experiments.plugins import Backend
from experiments.run.lanes import Built, IsDecided, execute, never
from experiments.run.progress import duration, estimate_s
from experiments.store.comparable import SAME
from experiments.store.experiment import LOCK, Experiment
from experiments.support import failpoints, locks
from experiments.support.console import say

#: In the facts of a run: the host of a cluster that has done it.
HOST = "host"

#: treatment -> what the names of such experiments begin with
_PREFIXES = {"samplers": "ledger", "none": "aa"}


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


def target(config: Config) -> tuple[labroot.LabRoot, kernel_image.Kernel]:
    """What to build with, and the kernel to build for: its backend knows."""
    return registry.backend(config.backend).target(config)


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
        for variant, arm in blocks.arms_of(config, source).items():
            built[source.name, variant] = (
                builder.scheduler(source.name, variant, arm.cleanup, arm.knobs)
                if source.is_ours
                else builder.own(source, variant, config.map)
            )
    return built


@dataclass(frozen=True)
class Prepared:
    """What runs on this machine need, and what is known of it."""

    root: labroot.LabRoot
    kernel: kernel_image.Kernel
    backend: Backend
    built: Built
    facts: Mapping[str, Any]


def prepare(config: Config) -> Prepared:
    """Build all that `config` needs; raises as `run` does."""
    root, kernel = target(config)
    built = build_all(config, root, kernel)
    failpoints.step("built")
    backend = registry.backend(config.backend)(config, root, kernel)
    return Prepared(root, kernel, backend, built, _facts(config, backend, built))


def run(
    config: Config,
    name: str | None = None,
    root_dir: Path | None = None,
    is_decided: IsDecided = never,
) -> Experiment:
    """Do what is left of the experiment that `config` describes.

    Before a block is begun, `is_decided` is asked whether its scheduler and workload
    need another one.

    Raises MissingRequirement, BuildError or ConfigError before the first run; what goes
    wrong in a run is its outcome.
    """
    planned = blocks.build(config)
    places = lanes(config)
    failpoints.step("planned")
    prepared = prepare(config)
    backend, built, known = prepared.backend, prepared.built, prepared.facts
    name = checked_name(name or default_name(config, planned, known))
    path = (root_dir or paths.RESULTS) / name
    experiment = Experiment.create(
        path, planned, config.model_dump(mode="json", by_alias=True), known
    )
    failpoints.step("experiment created")
    check_facts(experiment, known)
    with _locked(experiment):
        experiment.settle()
        pending = experiment.pending(planned.specs)
        _refuse_halves(experiment, pending)
        say(announce(experiment, planned, pending, len(places)))
        if pending:
            more = places[1:]
            others = [
                type(backend)(config, prepared.root, prepared.kernel) for _ in more
            ]
            with contextlib.ExitStack() as stack:
                for each, lane in zip((backend, *others), places, strict=True):
                    stack.callback(each.close)
                    each.begin(experiment, lane)
                execute(experiment, [backend, *others], built, pending, is_decided)
            failpoints.step("guest ended")
    failpoints.step("experiment done")
    return experiment


def lanes(config: Config) -> Sequence[Lane]:
    """Return where runs are done side by side: its backend knows.

    Raises ConfigError for more lanes than there can be.
    """
    return registry.backend(config.backend).lanes(config)


def announce(
    experiment: Experiment,
    planned: Plan,
    pending: Sequence[RunSpec],
    side_by_side: int,
    on: str = "",
) -> str:
    """What there is to do, so many runs `side_by_side`, for the user."""
    done = len(planned.specs) - len(pending)
    where = os.path.relpath(experiment.path)
    if not pending:
        return f"{where}: all {done} runs are done (another --seed makes a new one)"
    kept = f", {done} done before" if done else ""
    about = duration(estimate_s(pending) / max(1, side_by_side))
    return f"{where}: {len(pending)} runs to do{kept}{on}, about {about}"


@contextlib.contextmanager
def _locked(experiment: Experiment) -> Iterator[None]:
    """One runner at a time, and one experiment that is measured.

    Another experiment is waited for: two at once would measure each other.
    """
    with (
        owned(experiment),
        locks.queued(measuring(), experiment.path.name, _say_waiting),
    ):
        failpoints.step("machine locked")
        yield


def measuring() -> Path:
    """The lock of whoever measures on this machine."""
    return paths.cache_dir() / "measuring.lock"


@contextlib.contextmanager
def owned(experiment: Experiment) -> Iterator[None]:
    """One runner at a time; the kernel drops the lock of one that died.

    Raises ConfigError naming the other one.
    """
    try:
        with locks.locked(experiment.path / LOCK):
            failpoints.step("experiment locked")
            yield
    except locks.Held as held:
        raise ConfigError(
            f"the experiment {experiment.path.name} is being run by {held}; wait for "
            f"it (invoke status {experiment.path.name}), or end it"
        ) from None


def begun_on(experiment: Experiment, pending: Sequence[RunSpec]) -> dict[int, str]:
    """Blocks that are half done, and the host of a cluster that has begun each.

    The name is empty where it was begun without a cluster.
    """
    open_blocks = {spec.block for spec in pending}
    left = {spec.run_id for spec in pending}
    begun = {}
    for spec in experiment.manifest().specs:
        if spec.block in open_blocks and spec.run_id not in left:
            result = experiment.result(spec)
            begun[spec.block] = str(result.facts.get(HOST, "")) if result else ""
    return begun


def _refuse_halves(experiment: Experiment, pending: Sequence[RunSpec]) -> None:
    """Raises ConfigError: control and test of a block are of one machine."""
    begun = begun_on(experiment, pending)
    if elsewhere := {block: host for block, host in begun.items() if host}:
        said = ", ".join(f"{b} on {h}" for b, h in sorted(elsewhere.items()))
        raise ConfigError(
            f"{experiment.path.name} has blocks that hosts of a cluster have begun "
            f"and have to end ({said}): go on with --on and the cluster's address"
        )


def _say_waiting(owner: str) -> None:
    say(f"  waiting until another experiment is done: {owner}")


def machine_facts(
    config: Config, root: labroot.LabRoot, kernel: kernel_image.Kernel
) -> Mapping[str, Any]:
    """What an experiment of `config` would say of the machine it runs on."""
    backend = registry.backend(config.backend)(config, root, kernel)
    return {**facts.machine(paths.PROJECT), **backend.facts()}


def _facts(config: Config, backend: Backend, built: Built) -> Mapping[str, Any]:
    objects = {
        f"{scheduler}/{variant}": {"sha256": o.sha256, "ops": o.ops_name}
        for (scheduler, variant), o in built.items()
    }
    tools = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths.BIN.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    used = {"objects": objects, "tools": tools, "map": config.map}
    return {**facts.machine(paths.PROJECT), **backend.facts(), **used}


def check_facts(experiment: Experiment, known: Mapping[str, Any]) -> None:
    """Raises ConfigError when runs done now would not compare with those before."""
    before = experiment.manifest().facts
    for name in SAME:
        if before.get(name) != known.get(name):
            raise ConfigError(
                f"{experiment.path} was begun with another {name}; its runs and new "
                "ones would not compare: give the new one another name with "
                "--experiment"
            )
