# SPDX-License-Identifier: GPL-2.0-only
"""The commands behind tasks.py: glue between the user and the rest."""

from __future__ import annotations

import errno
import functools
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

from invoke.exceptions import Exit
from invoke.parser.parser import ParseMachine
from rich.table import Table

from experiments import paths, registry
from experiments.commands import calibrate, cluster, results
from experiments.doctor import doctor as health
from experiments.errors import (
    ConfigError,
    ExperimentError,
    MissingRequirement,
    RunFailed,
    unknown_name,
)
from experiments.labroot import kernel_image
from experiments.labroot import root as labroot
from experiments.machine import consent
from experiments.model import NO_CLEANUP, Outcome
from experiments.plan import blocks, knobs, scheduler_source
from experiments.plan import config as configs
from experiments.plan.config import Config
from experiments.run import runner
from experiments.run.lanes import never
from experiments.run.progress import duration, estimate_s
from experiments.store.experiment import Experiment
from experiments.support import userns
from experiments.support.console import console, say, steps
from experiments.support.proc import foreground

_P = ParamSpec("_P")
_INTERRUPTED = 130

#: Flags that are lists, separated by commas.
_LISTS = ("schedulers", "workloads", "cleanups", "samplers")


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turn errors into a message and the exit code that belongs to them."""

    @functools.wraps(command)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **kwargs)
        except ExperimentError as error:
            raise Exit(f"error: {error}", error.exit_code) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Exit(
                f"error: {error.filename or 'a disk'}: {error.strerror}: make room, "
                "and the same command goes on",
                MissingRequirement.exit_code,
            ) from None
        except KeyboardInterrupt:
            raise Exit(
                "interrupted: finished runs are kept, the same command goes on",
                _INTERRUPTED,
            ) from None

    return wrapper


#: How invoke's message ends that a task got no name of an experiment. To invoke every
#: positional argument is required; this one may be left away: it is the newest then.
_MISSING_NAME = "required positional arguments: 'experiment'"


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _usage_error(self: ParseMachine, message: str) -> None:
    """Replaces invoke's own, which names no remedy and ends with 1 instead of 2."""
    context = self.context
    if message.endswith(_MISSING_NAME) or self.initial.args["help"].value:
        return
    flags = list(context.flags) + list(context.inverse_flags) if context else []
    token = message.split("'")[1] if message.count("'") >= 2 else ""
    if message.startswith("No idea what"):
        kind, valid = (
            ("flag", flags) if token.startswith("-") else ("task", self.contexts)
        )
        message = str(unknown_name(kind, token, valid))
    elif self.waiting_for_flag_value and self.flag is not None:
        message = f"--{self.flag.name} needs a value"
    raise Exit(f"error: {message}", ConfigError.exit_code)


def _handle(self: ParseMachine, token: str) -> None:
    """Replaces invoke's own, which takes an unknown flag for a positional argument,
    and --help, too.
    """
    context = self.context
    if context is None or not token.startswith("-") or self.waiting_for_flag_value:
        _invokes_handle(self, token)
        return
    positional, context.positional_args = context.positional_args, []
    _invokes_handle(self, token)
    context.positional_args = positional


_invokes_handle = ParseMachine.handle
ParseMachine.handle = _handle  # type: ignore[method-assign]
ParseMachine.error = _usage_error  # type: ignore[method-assign,assignment]


def setup(refresh: bool) -> labroot.LabRoot:
    userns.require()
    if (labroot.place() / "lab/labroot.json").exists() and not refresh:
        root = labroot.open_root()
        say(f"the lab root is ready: {root.path}")
    else:
        say(f"The lab root {labroot.ANNOUNCEMENT}.")
        with steps("making the lab root") as report:
            root = labroot.make(report, refresh)
    kernel = kernel_image.prepare(root)
    say(f"its kernel {kernel.version} has sched_ext, BTF, and its kfuncs in BTF")
    return root


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(filter(None, text.split(",")))


def show_list() -> None:
    table = Table("kind", "name", "what it is", box=None, pad_edge=False)
    for name in scheduler_source.names():
        table.add_row("scheduler", name, _policy(name))
    table.add_row("clean-up", NO_CLEANUP, "the control, which every experiment has")
    for name, cleanup in knobs.CLEANUPS.items():
        table.add_row("clean-up", name, cleanup.summary)
    for name in registry.names("workload"):
        workload = registry.workload(name)
        table.add_row("workload", name, workload.summary)
        for key, parameter in workload.parameters.items():
            table.add_row("", f"  {key}={parameter.default}", parameter.summary)
    for name, knob in knobs.KNOBS.items():
        table.add_row("knob", f"{name}={knob.default}", knob.summary)
    for kind in ("sampler", "backend"):
        for name in registry.names(kind):
            summary = sys.modules[getattr(registry, kind)(name).__module__].__doc__
            first = (summary or "").strip().splitlines()[0]
            off = kind == "sampler" and not registry.sampler(name).by_default
            table.add_row(kind, name, f"{first} (off by default)" if off else first)
    console.print(table)


def _policy(name: str) -> str:
    """The first line of a scheduler's header comment."""
    source = paths.SCHEDULERS / "control" / f"{name}.bpf.c"
    for line in source.read_text().splitlines():
        if line.startswith(f" * {name}: "):
            return line.removeprefix(f" * {name}: ")
    return ""


def build(sched: str, kernel: str | None) -> None:
    config = configs.load(schedulers=_names(sched), kernel=kernel)
    root, image = runner.target(config)
    for (name, variant), built in runner.build_all(config, root, image).items():
        if not built.path.is_relative_to(paths.BUILD):
            continue  # a program, which was not built here
        size_kb = built.path.stat().st_size / 1024
        path = built.path.relative_to(paths.PROJECT)
        say(f"{name} {variant}: {path} ({size_kb:.0f} KB)")


def run(
    experiment: str | None = None,
    config: str | None = None,
    dry_run: bool = False,
    sweep: Sequence[str] = (),
    commands: Sequence[str] = (),
    include: Sequence[str] = (),
    aa: bool = False,
    until_decided: bool = False,
    max_blocks: str | None = None,
    detect: str | None = None,
    yes: bool = False,
    **flags: str | None,
) -> Experiment:
    if max_blocks is not None and not until_decided:
        raise ConfigError("--max-blocks is for --until-decided; else give --iterations")
    if until_decided:
        flags["iterations"] = (
            max_blocks or flags.get("iterations") or calibrate.MAX_BLOCKS
        )
    lists = {k: _names(flags.pop(k, None)) for k in _LISTS}
    loaded = configs.load(
        Path(config) if config else None,
        **lists,
        sweep=configs.parse_sweep(sweep),
        commands=list(commands) or None,
        include=list(include) or None,
        treatment="none" if aa else None,
        until_decided=until_decided or None,
        **flags,
    )
    if detect is not None:
        for line in calibrate.check_power(loaded, detect):
            say(line)
    if experiment is not None:
        runner.checked_name(experiment)
    if dry_run:
        return _show_plan(loaded)
    if yes and registry.backend(loaded.backend).is_this_machine:
        consent.obtain(yes)
    return _run(loaded, experiment)


def resume(name: str | None, on: str | None = None) -> Experiment:
    """Go on with an experiment by what its manifest says, whatever the flags were."""
    stopped = results.experiment(name)
    said = dict(stopped.manifest().config)
    if on is not None:
        said["where"] = on
    path = str(stopped.manifest_path)
    recorded = configs.parse(said, path, ("where",) if on is not None else ())
    return _run(recorded, stopped.path.name)


def _run(config: Config, name: str | None) -> Experiment:
    decided = never
    if config.until_decided:
        from analysis.compare.stopping_rule import is_decided as decided
    if config.where == configs.HERE:
        done = runner.run(config, name, is_decided=decided)
    else:
        done = cluster.run(config, name, decided)
    counts = done.manifest().outcomes
    say(f"outcomes: {', '.join(f'{k} {v}' for k, v in sorted(counts.items()))}")
    if set(counts) != {Outcome.OK}:
        raise RunFailed(f"not every run ended OK; see {done.path}")
    return done


def doctor(
    sched: str | None,
    cleanup: str | None,
    include: Sequence[str],
    kernel: str | None,
    json: bool,
    fix: bool,
) -> None:
    health.doctor(_names(sched), _names(cleanup), include, kernel, json, fix)


def study(
    chosen: Callable[[calibrate.Flags], Config], dry_run: bool, **flags: str | None
) -> None:
    """An experiment with a treatment of its own: run it, and say what it found."""
    lists = {k: _names(v) for k, v in flags.items() if k in _LISTS}
    loaded = chosen({**flags, **lists})
    if dry_run:
        _show_plan(loaded)
        return
    results.aggregate(runner.run(loaded).path.name)


def _show_plan(config: Config) -> Experiment:
    planned = blocks.build(config)
    for spec in planned.specs:
        say(f"block {spec.block:3}  {spec.label}  {spec.duration_s} s  {spec.run_id}")
    about = duration(estimate_s(planned.specs) / len(runner.lanes(config)))
    say(f"{len(planned.specs)} runs, about {about}; nothing was run")
    return Experiment(paths.RESULTS)


def demo() -> None:
    setup(refresh=False)
    build("scx_simple", None)
    done = run(schedulers="scx_simple", workloads="hackbench", cleanups="scan")
    results.aggregate(done.path.name)


#: Tests by what they need; each of tests/ is in one of them.
_TESTS = {
    "units": ("-n", "logical", "--maxprocesses=4", "--dist=loadfile", "tests/unit"),
    # One after another: what they boot and measure has the machine to itself
    "kernel and browser": ("--ignore=tests/unit", "tests"),
}


def test(unit: bool) -> None:
    """All parts are run, whatever the others say."""
    wanted = ["units"] if unit else [*_TESTS]
    failed = []
    for part in wanted:
        say(f"tests: {part}")
        if foreground([sys.executable, "-m", "pytest", *_TESTS[part]], paths.PROJECT):
            failed.append(part)
    if failed:
        raise RunFailed(f"tests failed: {', '.join(failed)}")


def lint() -> None:
    for argv in (
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
    ):
        if foreground([sys.executable, "-m", *argv], paths.PROJECT):
            raise RunFailed(f"{argv[0]} has something to say")
