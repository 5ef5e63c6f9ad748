# SPDX-License-Identifier: GPL-2.0-only
"""Before the first run: setup, list, build, doctor."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table

from experiments import paths, registry
from experiments.commands.guard import names
from experiments.doctor import examine
from experiments.labroot import kernel_image, lab_root
from experiments.labroot.lab_root import ANNOUNCEMENT, LabRoot
from experiments.labroot.make import make
from experiments.model import NO_CLEANUP
from experiments.plan import knobs, scheduler_source
from experiments.plan.blocks import build_plan
from experiments.plan.config import load_config
from experiments.run.prepare import build_all, target
from experiments.support import userns
from experiments.support.console import console, say, steps


def setup(refresh: bool) -> LabRoot:
    """Make the lab root unless it is there, and check its kernel."""
    userns.require()
    if lab_root.is_made() and not refresh:
        root = lab_root.open_root()
        say(f"the lab root is ready: {root.path}")
    else:
        say(f"The lab root {ANNOUNCEMENT}.")
        with steps("making the lab root") as report:
            root = make(report, refresh)
    kernel = kernel_image.prepare(root)
    say(f"its kernel {kernel.version} has sched_ext, BTF, and its kfuncs in BTF")
    return root


def show_list() -> None:
    """Show everything that can be named in a command."""
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
            plugin = getattr(registry, kind)(name)
            first = _first_line(
                sys.modules[plugin.__module__].__doc__ or plugin.__doc__
            )
            off = kind == "sampler" and not registry.sampler(name).by_default
            table.add_row(kind, name, f"{first} (off by default)" if off else first)
    console.print(table)


def _first_line(text: str | None) -> str:
    return next(iter((text or "").strip().splitlines()), "")


def _policy(name: str) -> str:
    """Return the first line of a scheduler's header comment."""
    source = paths.SCHEDULERS / "control" / f"{name}.bpf.c"
    for line in source.read_text().splitlines():
        if line.startswith(f" * {name}: "):
            return line.removeprefix(f" * {name}: ")
    return ""


def build(sched: str, kernel: str | None) -> None:
    """Compile every variant of the schedulers and say where the objects are."""
    config = load_config(schedulers=names(sched), kernel=kernel)
    root, image = target(config)
    built = build_all(build_plan(config), root, image)
    for (name, variant), made in built.items():
        path = made.path.relative_to(paths.PROJECT)
        say(f"{name} {variant}: {path} ({made.path.stat().st_size / 1024:.0f} KB)")


def doctor(
    sched: str | None,
    cleanup: str | None,
    include: Sequence[str],
    settings: Sequence[str],
    kernel: str | None,
    json: bool,
    fix: bool,
) -> None:
    """Say what this machine lacks, or why a scheduler does not load."""
    tried = examine.Tried(
        names(sched), names(cleanup), include, knobs.parse_settings(settings)
    )
    examine.examine(tried, kernel, json, fix)
