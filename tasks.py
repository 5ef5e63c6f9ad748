# SPDX-License-Identifier: GPL-2.0-only
"""What `invoke` offers. A skin: no task does anything of its own."""

from __future__ import annotations

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

try:
    from experiments import commands
    from experiments.commands import guarded
except ModuleNotFoundError as absent:  # nothing can be shown, not even by doctor
    raise Exit(
        f"error: there is no Python package {absent.name}: pip install -e '.[dev]'",
        code=4,  # MissingRequirement's
    ) from None

_RUN_HELP = {
    "sched": "schedulers, or files of yours (a.bpf.c, a.bpf.o, control:test), or all",
    "sched-cmd": "a program that loads its scheduler itself; twice: control and test",
    "include": "directory for #include of your sources; may be repeated",
    "map": "the map to watch in a scheduler of yours; its largest hash if left away",
    "set": "name=value of a number in a scheduler's read-only data; may be repeated",
    "workload": "workloads, separated by commas, or all",
    "cleanup": "clean-up strategies to test, separated by commas, or all",
    "sampler": "samplers, separated by commas; default, all or none",
    "duration": "seconds of each run",
    "iterations": "blocks of one control and one test run",
    "backend": "where it runs: vm, or host, this machine's own kernel",
    "yes": "with --backend host: you agree, and are not asked",
    "on": "here, or a cluster: dask, or the address of its scheduler",
    "kernel": "a bzImage or vmlinux of your own to boot",
    "seed": "of the order of runs and of the workloads",
    "sweep": "settings of the clean-up, as max_age_ms=1000,2000; may be repeated",
    "experiment": "name of its directory in results/",
    "config": "another file than config.yaml",
    "aa": "control against itself: what differs then is noise",
    "until-decided": "go on until the effect on each workload is known",
    "max-blocks": "with --until-decided: blocks at the most (30)",
    "looks": "with --until-decided: how often to look on the way (3); 0: at each block",
    "detect": "refuse to start if the plan cannot find such a change, as 3%",
}

_JSON = {"json": "for a program to read"}
_NEWEST = "name in results/; the newest if left away"


@task(help={"refresh": "make a new one even if there is one"})
@guarded
def setup(c: Context, refresh: bool = False) -> None:
    """Make the lab root: kernel, compilers, tools and QEMU, in your cache."""
    commands.setup.setup(refresh)


@task(name="list")
@guarded
def list_(c: Context) -> None:
    """Schedulers, clean-up strategies, workloads, samplers, backends."""
    commands.setup.show_list()


@task(help={"sched": _RUN_HELP["sched"], "kernel": _RUN_HELP["kernel"]})
@guarded
def build(c: Context, sched: str = "all", kernel: str | None = None) -> None:
    """Compile the control and test objects of each scheduler."""
    commands.setup.build(sched, kernel)


@task(
    help={**_RUN_HELP, "dry-run": "print the plan and its time, run nothing"},
    iterable=["sweep", "sched_cmd", "include", "set"],
)
@guarded
def run(
    c: Context,
    sched: str | None = None,
    workload: str | None = None,
    cleanup: str | None = None,
    duration: str | None = None,
    iterations: str | None = None,
    backend: str | None = None,
    kernel: str | None = None,
    seed: str | None = None,
    experiment: str | None = None,
    config: str | None = None,
    sweep: list[str] | None = None,
    sched_cmd: list[str] | None = None,
    include: list[str] | None = None,
    map: str | None = None,
    set: list[str] | None = None,
    sampler: str | None = None,
    aa: bool = False,
    until_decided: bool = False,
    max_blocks: str | None = None,
    looks: str | None = None,
    detect: str | None = None,
    on: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Run an experiment, or go on with it where it was stopped."""
    commands.run.run(
        experiment=experiment,
        config=config,
        dry_run=dry_run,
        sweep=sweep or (),
        commands=sched_cmd or (),
        include=include or (),
        settings=set or (),
        map=map,
        aa=aa,
        until_decided=until_decided,
        max_blocks=max_blocks,
        looks=looks,
        detect=detect,
        yes=yes,
        schedulers=sched,
        workloads=workload,
        cleanups=cleanup,
        samplers=sampler,
        duration_s=duration,
        iterations=iterations,
        backend=backend,
        where=on,
        kernel=kernel,
        seed=seed,
    )


@task(
    positional=["experiment"],
    help={"experiment": _NEWEST, "on": "elsewhere than it was begun"},
)
@guarded
def resume(c: Context, experiment: str | None = None, on: str | None = None) -> None:
    """Go on with an experiment where it was stopped, whatever its flags were."""
    commands.run.resume(experiment, on)


@task(
    help={
        "scheduler": "its address, as tcp://10.0.0.1:8786; or Dask's configuration",
        "name": "of this host; the machine's own if left away",
        "directory": "for what is measured, until it is handed over",
        "insecure": "join a cluster over tcp:// that is not on this machine",
    }
)
@guarded
def worker(
    c: Context,
    scheduler: str | None = None,
    name: str | None = None,
    directory: str | None = None,
    insecure: bool = False,
) -> None:
    """Be a host of a cluster: do blocks for `invoke run --on`, until it is ended."""
    commands.cluster.worker(scheduler, name, directory, insecure)


@task(positional=["experiment"], help={"experiment": _NEWEST, **_JSON})
@guarded
def status(c: Context, experiment: str | None = None, json: bool = False) -> None:
    """How far an experiment is, who runs it, and how long it will take."""
    commands.results.status(experiment, json)


@task(positional=["experiment"], help={"experiment": _NEWEST, **_JSON})
@guarded
def verify(c: Context, experiment: str | None = None, json: bool = False) -> None:
    """Check every file of an experiment against what was finished."""
    commands.results.verify(experiment, json)


@task(
    positional=["experiment"],
    help={"experiment": "name in results/, or A,B to merge; the newest if left away"},
)
@guarded
def aggregate(c: Context, experiment: str | None = None) -> None:
    """Statistics, verdicts, plots and the report of an experiment."""
    commands.results.aggregate(experiment)


@task(
    positional=["a", "b"],
    help={
        "a": "the experiment to start from, its name in results/",
        "b": "the one to set against it",
        "fail-on": "regression=3%: end with 1 when a metric is that much worse, or "
        "missing; regression=3%,undecided: else with 3 when one is undecided",
    },
)
@guarded
def compare(c: Context, a: str, b: str, fail_on: str | None = None) -> None:
    """Set an experiment against another: two kernels, two versions of a scheduler."""
    commands.results.compare(a, b, fail_on)


@task(
    name="import",
    help={
        "directory": "holds <scheduler>/<control|test>/<workload>_run<N>.csv",
        "experiment": _RUN_HELP["experiment"],
    },
)
@guarded
def import_(c: Context, directory: str, experiment: str | None = None) -> None:
    """Results of the map clean-up automation, as an experiment: not proved."""
    commands.results.import_(directory, experiment)


@task(
    help={
        "sched": "schedulers to try in the VM, instead of checking the machine",
        "cleanup": _RUN_HELP["cleanup"],
        "include": _RUN_HELP["include"],
        "set": _RUN_HELP["set"],
        "kernel": _RUN_HELP["kernel"],
        "json": "the findings as a JSON list",
        "fix": "remove what a killed invoke has left behind",
    },
    iterable=["include", "set"],
)
@guarded
def doctor(
    c: Context,
    sched: str | None = None,
    cleanup: str | None = None,
    include: list[str] | None = None,
    set: list[str] | None = None,
    kernel: str | None = None,
    json: bool = False,
    fix: bool = False,
) -> None:
    """What this machine lacks, and what to type; or why a scheduler does not load."""
    commands.setup.doctor(sched, cleanup, include or (), set or (), kernel, json, fix)


@task(
    help={
        **{k: _RUN_HELP[k] for k in ("sched", "workload", "sampler", "duration")},
        **{k: _RUN_HELP[k] for k in ("seed", "kernel")},
        "iterations": "blocks of one run without samplers and one of each choice",
        "dry-run": "print the plan and its time, run nothing",
    }
)
@guarded
def ledger(
    c: Context,
    sched: str | None = None,
    workload: str | None = None,
    sampler: str | None = None,
    duration: str | None = None,
    iterations: str | None = None,
    seed: str | None = None,
    kernel: str | None = None,
    dry_run: bool = False,
) -> None:
    """Measure what each sampler costs the workload, on this machine."""
    commands.run.study(
        commands.calibrate.ledger,
        dry_run=dry_run,
        schedulers=sched,
        workloads=workload,
        samplers=sampler,
        duration_s=duration,
        iterations=iterations,
        seed=seed,
        kernel=kernel,
    )


@task(
    help={
        **{k: _RUN_HELP[k] for k in ("sched", "workload", "duration", "seed")},
        "kernel": _RUN_HELP["kernel"],
        "iterations": "blocks of two runs of control",
        "dry-run": "print the plan and its time, run nothing",
    }
)
@guarded
def noise(
    c: Context,
    sched: str | None = None,
    workload: str | None = None,
    duration: str | None = None,
    iterations: str | None = None,
    seed: str | None = None,
    kernel: str | None = None,
    dry_run: bool = False,
) -> None:
    """Measure the noise of this machine, and what effects it lets one see."""
    commands.run.study(
        commands.calibrate.noise,
        dry_run=dry_run,
        schedulers=sched,
        workloads=workload,
        duration_s=duration,
        iterations=iterations,
        seed=seed,
        kernel=kernel,
    )


@task(
    positional=["action"],
    help={
        "action": "show, tune or reset",
        "yes": "tune: turn ASLR off without asking",
    },
)
@guarded
def system(c: Context, action: str, yes: bool = False) -> None:
    """Settings of this machine that disturb measurements: show, change, restore."""
    commands.system.act(action, yes)


@task
@guarded
def demo(c: Context) -> None:
    """The whole main job: setup, build, run scx_simple x hackbench, aggregate."""
    commands.run.demo()


@task(
    help={
        "name": "aggregate, faults, harness, sampling, verdicts or walls",
        "json": "also write rows to this file",
    }
)
@guarded
def bench(c: Context, name: str, json: str | None = None) -> None:
    """Measure what harness, samples, analysis cost; how often verdicts err; faults."""
    commands.bench.bench(name, json)


@task(help={"unit": "only the tests that need neither root nor a kernel nor a browser"})
@guarded
def test(c: Context, unit: bool = False) -> None:
    """The project's tests: units, then a real kernel in a VM."""
    commands.dev.test(unit)


@task
@guarded
def lint(c: Context) -> None:
    """ruff and mypy."""
    commands.dev.lint()
