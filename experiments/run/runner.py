# SPDX-License-Identifier: GPL-2.0-only
"""Config -> an experiment that is done, wherever its blocks are done.

Finished runs are kept: the same command again goes on where it was stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import paths
from experiments.errors import ConfigError, RunFailed
from experiments.model import Plan, RunSpec, digest
from experiments.plan.blocks import build_plan
from experiments.plan.config import Config
from experiments.run.block_queue import Block, BlockQueue, IsDecided, never
from experiments.run.lanes import LocalLanes
from experiments.run.place import Place
from experiments.run.progress import RunProgress, estimate_s
from experiments.store.experiment import LOCK, Experiment
from experiments.store.machine_facts import SAME
from experiments.store.schema import NOT_NEEDED
from experiments.support import failpoints, locks
from experiments.support.console import say
from experiments.support.timespan import duration

#: In the facts of a run: the host of a cluster that has done it.
HOST = "host"

#: treatment -> what the names of such experiments begin with
_PREFIXES = {"samplers": "ledger", "none": "aa"}


def run_experiment(
    config: Config,
    name: str | None = None,
    results: Path | None = None,
    is_decided: IsDecided = never,
    place: Place | None = None,
) -> Experiment:
    """Do what is left of the experiment that `config` describes.

    `place` is this machine unless another is given, `results` the project's. Before a
    block is begun, `is_decided` is asked whether its scheduler and workload need
    another one.

    Raises MissingRequirement, BuildError or ConfigError before the first run, and
    RunFailed when blocks are left that only hosts can end that are not there; what goes
    wrong in a run is its outcome.
    """
    place = place or LocalLanes(config)
    results = results or paths.RESULTS
    plan = build_plan(config)
    failpoints.step("planned")
    known = place.prepare(plan, _facts_before(results, name))
    path = results / checked_name(name or default_name(config, plan, known))
    experiment = Experiment.create(path, plan, recorded(place.config), known)
    failpoints.step("experiment created")
    check_facts(experiment, known)
    with owned(experiment), place.held_for(experiment):
        experiment.record_unrecorded()
        _record_where(experiment, config.where)
        left = do_pending(experiment, plan, place, is_decided)
    if left:
        raise RunFailed(_whose(left, experiment.path.name))
    failpoints.step("experiment done")
    return experiment


def do_pending(
    experiment: Experiment, plan: Plan, place: Place, is_decided: IsDecided
) -> list[Block]:
    """Do what is pending; return the blocks that are left for owners who are away."""
    pending = experiment.pending(plan.specs)
    begun = place.owners(begun_by(experiment, pending))
    say(announcement(experiment, plan, pending, place))
    if not pending:
        return []
    progress = RunProgress(experiment, pending, place.width)
    blocks = BlockQueue(experiment, pending, is_decided, begun, progress.unneeded)
    with progress.showing():
        place.run(experiment, blocks, progress)
    _record_unneeded(experiment, blocks.unneeded)
    return blocks.owned


def recorded(config: Config) -> Mapping[str, Any]:
    """Return `config` as the manifest has it."""
    return config.model_dump(mode="json", by_alias=True)


def default_name(config: Config, plan: Plan, known: Mapping[str, Any]) -> str:
    """Return a directory name that says what it is, and differs where plan or facts do.

    What an experiment is, its manifest says; the name is for people.
    """
    schedulers = dict.fromkeys(build.scheduler for build in plan.builds)
    names = [*list(schedulers)[:2], *config.workloads[:2]]
    if prefix := _PREFIXES.get(config.treatment):
        names.insert(0, prefix)
    identity = [plan.plan_id, *(known.get(name) for name in SAME)]
    return f"{'-'.join(names)}-{digest(identity)[:6]}"


def checked_name(name: str) -> str:
    """Return `name`; ConfigError unless it is that of a directory below results/."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise ConfigError(
            f"--experiment {name}: give a plain name of letters, digits, and ._+-"
        )
    return name


def _facts_before(results: Path, name: str | None) -> Mapping[str, Any] | None:
    """Return the facts of an experiment that is gone on with by its name."""
    if name is None:
        return None
    before = Experiment(results / checked_name(name))
    return before.manifest().facts if before.manifest_path.exists() else None


def _record_where(experiment: Experiment, where: str) -> None:
    """Record where the experiment is done, if that has changed."""
    config = experiment.manifest().config
    if config.get("where", where) != where:
        experiment.update(config={**config, "where": where})


def announcement(
    experiment: Experiment, plan: Plan, pending: Sequence[RunSpec], place: Place
) -> str:
    """Return what there is to do, for the user."""
    done = len(plan.specs) - len(pending)
    where = os.path.relpath(experiment.path)
    if not pending:
        return f"{where}: all {done} runs are done (another --seed makes a new one)"
    kept = f", {done} done before" if done else ""
    about = duration(estimate_s(pending) / max(1, place.width))
    return f"{where}: {len(pending)} runs to do{kept}{place.description}, about {about}"


@contextlib.contextmanager
def owned(experiment: Experiment) -> Iterator[None]:
    """Hold the lock of the experiment; the kernel drops that of a runner that died.

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


def begun_by(experiment: Experiment, pending: Sequence[RunSpec]) -> dict[int, str]:
    """Return the blocks that are half done, and the host of a cluster that began each.

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


def check_facts(experiment: Experiment, known: Mapping[str, Any]) -> None:
    """Raise ConfigError when runs done now would not compare with those before."""
    before = experiment.manifest().facts
    for name in SAME:
        if before.get(name) != known.get(name):
            raise ConfigError(
                f"{experiment.path} was begun with another {name}; its runs and new "
                "ones would not compare: give the new one another name with "
                "--experiment"
            )


def _record_unneeded(experiment: Experiment, unneeded: Sequence[Block]) -> None:
    """Say and record which blocks were not begun because they were decided."""
    facts = dict(experiment.manifest().facts)
    facts.pop(NOT_NEEDED, None)
    if unneeded:
        say(f"  decided: {len(unneeded)} of the blocks were not needed")
        facts[NOT_NEEDED] = sorted(block.number for block in unneeded)
    experiment.update(facts=facts)


def _whose(left: Sequence[Block], name: str) -> str:
    """Return what to tell of blocks that only somebody who is away can end."""
    blocks = ", ".join(f"block {block.number} by {block.owner}" for block in left)
    return (
        f"not done: {blocks}, who has begun and has to end it, and is not in the "
        f"cluster: start that worker, then invoke resume {name} "
        "(with --on here where `here` has begun)"
    )
