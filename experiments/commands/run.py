# SPDX-License-Identifier: GPL-2.0-only
"""run, resume, demo, and experiments about the machine: noise and ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from experiments import paths, registry
from experiments.commands import calibrate, cluster, results
from experiments.commands.guard import names
from experiments.commands.setup import build, setup
from experiments.errors import ConfigError, RunFailed
from experiments.machine import consent
from experiments.model import Outcome
from experiments.plan.blocks import build_plan
from experiments.plan.config import (
    HERE,
    Config,
    load_config,
    parse_config,
    parse_sweep,
)
from experiments.plan.knobs import parse_settings
from experiments.run.block_queue import IsDecided, never
from experiments.run.lanes import lanes_of
from experiments.run.progress import estimate_s
from experiments.run.runner import checked_name, run_experiment
from experiments.store.experiment import Experiment
from experiments.support.console import say
from experiments.support.timespan import duration

#: Flags that are lists, separated by commas.
_LISTS = ("schedulers", "workloads", "cleanups", "samplers")


def run(
    experiment: str | None = None,
    config: str | None = None,
    dry_run: bool = False,
    sweep: Sequence[str] = (),
    commands: Sequence[str] = (),
    include: Sequence[str] = (),
    settings: Sequence[str] = (),
    aa: bool = False,
    until_decided: bool = False,
    max_blocks: str | None = None,
    looks: str | None = None,
    detect: str | None = None,
    yes: bool = False,
    **flags: str | None,
) -> Experiment:
    """Run the experiment that flags and config.yaml describe, or go on with it.

    `flags` are settings of Config by their names there. Raises ConfigError for what is
    wrong with them, RunFailed when a run did not end OK.
    """
    if max_blocks is not None and not until_decided:
        raise ConfigError("--max-blocks is for --until-decided; else give --iterations")
    if looks is not None and not until_decided:
        raise ConfigError("--looks is for --until-decided")
    if until_decided:
        flags["iterations"] = (
            max_blocks or flags.get("iterations") or calibrate.MAX_BLOCKS
        )
    lists = {k: names(flags.pop(k, None)) for k in _LISTS}
    loaded = load_config(
        Path(config) if config else None,
        **lists,
        sweep=parse_sweep(sweep),
        commands=list(commands) or None,
        include=list(include) or None,
        settings=parse_settings(settings),
        treatment="none" if aa else None,
        until_decided=until_decided or None,
        looks=looks,
        **flags,
    )
    if detect is not None:
        for line in calibrate.check_power(loaded, detect):
            say(line)
    if experiment is not None:
        checked_name(experiment)
    if dry_run:
        return _show_plan(loaded)
    if yes and registry.backend(loaded.backend).is_this_machine:
        consent.obtain(yes, consent.needs_module(loaded.cleanups))
    return _run(loaded, experiment)


def resume(name: str | None, on: str | None = None) -> Experiment:
    """Go on with an experiment by what its manifest says, whatever the flags were."""
    stopped = results.experiment(name)
    said = dict(stopped.manifest().config)
    if on is not None:
        said["where"] = on
    path = str(stopped.manifest_path)
    recorded = parse_config(said, path, ("where",) if on is not None else ())
    return _run(recorded, stopped.path.name)


def _run(config: Config, name: str | None) -> Experiment:
    is_decided = _stopping_rule(config)
    if config.where == HERE:
        done = run_experiment(config, name, is_decided=is_decided)
    else:
        done = cluster.run(config, name, is_decided)
    counts = done.manifest().outcomes
    say(f"outcomes: {', '.join(f'{k} {v}' for k, v in sorted(counts.items()))}")
    if set(counts) != {Outcome.OK}:
        raise RunFailed(f"not every run ended OK; see {done.path}")
    return done


def _stopping_rule(config: Config) -> IsDecided:
    if not config.until_decided:
        return never
    from analysis.compare import stopping_rule

    return stopping_rule.is_decided


def study(
    chosen: Callable[[calibrate.Flags], Config], dry_run: bool, **flags: str | None
) -> None:
    """Run an experiment with a treatment of its own, and say what it found."""
    lists = {k: names(v) for k, v in flags.items() if k in _LISTS}
    loaded = chosen({**flags, **lists})
    if dry_run:
        _show_plan(loaded)
        return
    results.aggregate(run_experiment(loaded).path.name)


def _show_plan(config: Config) -> Experiment:
    planned = build_plan(config)
    for spec in planned.specs:
        say(f"block {spec.block:3}  {spec.label}  {spec.duration_s} s  {spec.run_id}")
    about = duration(estimate_s(planned.specs) / len(lanes_of(config)))
    say(f"{len(planned.specs)} runs, about {about}; nothing was run")
    return Experiment(paths.RESULTS)


def demo() -> None:
    """Do the whole main job: setup, build, run, aggregate."""
    setup(refresh=False)
    build("scx_simple", None)
    done = run(schedulers="scx_simple", workloads="hackbench", cleanups="scan")
    results.aggregate(done.path.name)
