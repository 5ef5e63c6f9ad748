# SPDX-License-Identifier: GPL-2.0-only
"""Imports point one way. A module may import those of lower layers, and its own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.labroot import root as labroot

PROJECT = Path(__file__).parents[2]

#: From the bottom to the top; a name ending in a dot stands for a package.
LAYERS = [
    {
        *("experiments.__init__", "experiments.errors", "experiments.model"),
        *("experiments.columns", "experiments.plugins"),
        *(
            "experiments.support.failpoints",
            "experiments.support.files",
            "experiments.paths",
        ),
    },
    {
        "experiments.doctor.check",
        "experiments.support.console",
        "experiments.store.event_log",
        "experiments.kernel.",
        "experiments.support.locks",
        "experiments.support.proc",
        "experiments.support.tempdirs",
    },
    {
        "experiments.store.comparable",
        "experiments.agent.sampling_cost",
        "experiments.machine.facts",
        "experiments.samplers._histogram",
        "experiments.registry",
        "experiments.store.legacy_import",
        "experiments.store.experiment",
        "experiments.store.schema",
    },
    {"experiments.loaders.", "workloads."},
    {"experiments.samplers.", "experiments.agent.workload_driver"},
    {"experiments.agent.eviction_check", "experiments.bench.synthetic"},
    {
        "experiments.build.scx_enums",
        "experiments.plan.knobs",
        "experiments.labroot.root",
        "experiments.support.userns",
        "experiments.plan.scheduler_source",
    },
    {
        "experiments.plan.config",
        "experiments.machine.consent",
        "experiments.labroot.kernel_image",
        "experiments.machine.settings",
        "experiments.labroot.host_toolchain",
    },
    {"experiments.machine.tuning"},
    {"experiments.machine.stale_state"},
    {
        "experiments.plan.blocks",
        "experiments.build.builder",
        "experiments.agent.run_job",
        "experiments.agent.__main__",
    },
    {
        "experiments.agent.staging",
        "experiments.agent.client",
        "experiments.bench.sampling_probe",
    },
    {"experiments.vm.guest"},
    {"experiments.vm.accel"},
    {"experiments.backends."},
    {
        "experiments.run.progress",
        "experiments.store.verify",
        "experiments.cluster.bundle",
    },
    {"experiments.run.status"},
    {"experiments.run.lanes"},
    {"experiments.run.runner"},
    {"experiments.cluster.session", "experiments.cluster.host"},
    {"experiments.cluster.membership", "experiments.cluster.worker"},
    {"experiments.cluster.dask_client", "experiments.cluster.coordinator"},
    {"experiments.commands.cluster"},
    {
        "experiments.bench.aggregate",
        "experiments.bench.crash",
        "experiments.bench.harness",
        "experiments.bench.sampling",
        "experiments.doctor.diagnose",
        "experiments.doctor.check_packages",
        "experiments.doctor.check_host",
        "experiments.doctor.check_labroot",
        "experiments.doctor.check_machine",
        "experiments.doctor.stale_files",
        "experiments.doctor.stale_processes",
    },
    {"experiments.doctor.doctor"},
    {"experiments.store.merge"},
    {
        "experiments.commands.results",
        "experiments.commands.bench",
        "experiments.commands.calibrate",
    },
    {"experiments.commands.system"},
    {"experiments.commands.cli"},
    {"tasks"},
]
ANALYSIS_MAY = {
    "experiments.columns",
    "experiments.errors",
    "experiments.paths",
    "experiments.registry",
    "experiments.support.files",
    "experiments.model",
    "experiments.store.experiment",
    "experiments.store.schema",
}
#: What a command may take from the analysis.
SHOWS_ANALYSIS = {
    "experiments.commands.bench": ("analysis.validation.error_rates",),
    "experiments.commands.cli": ("analysis.compare.stopping_rule",),
    "experiments.commands.calibrate": ("analysis.compare.noise",),
    "experiments.commands.results": (
        "analysis.aggregate",
        "analysis.compare.regression_gate",
        "analysis.compare.between_experiments",
        "analysis.report.between_table",
    ),
}
HEAVY = ("matplotlib", "numpy", "pandas", "scipy", "seaborn", "statsmodels")
#: What runs in the guest or the lab root.
GUEST = ("experiments.agent.run_job", "experiments.bench.sampling_probe")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts)


def layer(module: str) -> int:
    for number, names in enumerate(LAYERS):
        for name in names:
            if module == name or (name.endswith(".") and module.startswith(name)):
                return number
    raise KeyError(module)


class Executed(ast.NodeTransformer):
    """Takes out what only the type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(Executed().visit(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                here = PROJECT / (whole.replace(".", "/") + ".py")
                yield whole if here.exists() else str(node.module)


def ours(names: Iterator[str]) -> list[str]:
    return [
        n for n in names if n.split(".")[0] in ("experiments", "workloads", "analysis")
    ]


SOURCES = sorted(
    p
    for folder in ("experiments", "workloads")
    for p in (PROJECT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_upward_import(path: Path) -> None:
    if path.name == "__init__.py":
        assert ours(imports(path)) == []
        return
    mine = layer(name_of(path))
    for name in ours(imports(path)):
        if name == "experiments":  # its version
            continue
        if name in SHOWS_ANALYSIS.get(name_of(path), ()):
            continue
        assert layer(name) <= mine, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "analysis").rglob("*.py")), ids=name_of
)
def test_analysis_reads_results_only(path: Path) -> None:
    for name in ours(imports(path)):
        assert name.startswith("analysis") or name in ANALYSIS_MAY, name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_command_loads_the_analysis_before_it_needs_it(path: Path) -> None:
    """With it come pandas, SciPy and seaborn, which take seconds."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [a.name for a in node.names]
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else named
            heavy = {n.split(".")[0] for n in named} & {"analysis", *HEAVY}
            assert not heavy, f"import {heavy} where it is used"


def test_the_guest_has_what_the_agent_needs() -> None:
    """The standard library, and packages of the lab root."""
    packages = {p.removeprefix("python3-") for p in labroot.PACKAGES if "python3-" in p}
    there = packages | sys.stdlib_module_names
    seen: set[str] = set()
    todo = [
        *GUEST,
        *(
            name_of(p)
            for f in ("workloads", "experiments/samplers", "experiments/loaders")
            for p in (PROJECT / f).glob("*.py")
        ),
    ]
    while todo:
        module = todo.pop()
        path = PROJECT / (module.replace(".", "/") + ".py")
        if module in seen or not path.exists():
            continue
        seen.add(module)
        for name in imports(path):
            top = name.split(".")[0]
            if top in ("experiments", "workloads"):
                todo.append(name)
            else:
                assert top in there, f"{module} imports {name}"
    assert "experiments.agent.workload_driver" in seen
