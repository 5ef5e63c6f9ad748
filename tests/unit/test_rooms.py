# SPDX-License-Identifier: GPL-2.0-only
"""Which room may know which, and that nobody goes round in circles.

A room is a folder of experiments/ or analysis/. The ground is what stands beside them,
and every room may know it. An import of a package, of a module by its name in a string,
and one inside a function all count.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from experiments.agent import staging
from experiments.labroot import lab_root
from experiments.paths import PROJECT

GROUND = "ground"
TOP = "tasks"

#: room -> the rooms it may know beside the ground; what a run passes last comes first.
MAY_KNOW: Mapping[str, frozenset[str]] = {
    room: frozenset(known.split())
    for room, known in {
        TOP: "commands",
        "commands": (
            "bench cluster doctor labroot machine plan run store support "
            "analysis analysis.compare analysis.report analysis.validation"
        ),
        "bench": "agent backends build kernel labroot plan run store support vm",
        "doctor": "kernel labroot machine plan run support vm",
        "cluster": "labroot machine plan run store support",
        "run": "build labroot machine plan store support",
        "backends": "agent kernel labroot machine plan store support vm",
        "vm": "agent labroot machine support",
        "build": "kernel labroot plan support",
        "plan": "",
        "labroot": "support",
        "machine": "kernel store support",
        "store": "support",
        "agent": "kernel samplers support",
        "samplers": "kernel support",
        "loaders": "kernel support",
        "workloads": "",
        "kernel": "support",
        "support": "",
        GROUND: "",
        "analysis": (
            "analysis.compare analysis.load analysis.report analysis.verdicts store "
            "support"
        ),
        "analysis.validation": (
            "analysis.compare analysis.load analysis.stats analysis.verdicts store"
        ),
        "analysis.report": (
            "analysis.compare analysis.load analysis.stats analysis.verdicts"
        ),
        "analysis.verdicts": ("analysis.compare analysis.load analysis.stats support"),
        "analysis.compare": "analysis.load analysis.stats store support",
        "analysis.load": "analysis.stats store",
        "analysis.stats": "",
    }.items()
}

#: What runs in the guest, and may know only what is staged for it.
GUEST_ROOMS = ("agent", "kernel", "loaders", "samplers", "workloads")
#: Takes seconds to load; only the analysis does so at once.
HEAVY = ("matplotlib", "numpy", "pandas", "scipy", "seaborn", "statsmodels")
#: Modules that load others by a name which is known only when they run.
BY_NAME = {"experiments.registry", "experiments.doctor.check_packages"}


def _name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES: Mapping[str, str] = {
    _name(path): path.read_text()
    for path in (
        PROJECT / "tasks.py",
        *(
            path
            for folder in ("experiments", "workloads", "analysis")
            for path in sorted((PROJECT / folder).rglob("*.py"))
        ),
    )
}
PACKAGES = {
    _name(path) for path in PROJECT.glob("*/**/__init__.py") if _name(path) in SOURCES
}


def room_of(module: str) -> str:
    """Return the room a module, or a package of modules, stands in."""
    top, *below = module.split(".")
    if top in (TOP, "workloads"):
        return top
    in_room = len(below) > 1 or (module in PACKAGES and below)
    if top == "analysis":
        return f"analysis.{below[0]}" if in_room else "analysis"
    return below[0] if in_room else GROUND


class _Executed(ast.NodeTransformer):
    """Takes out what only the type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


def imports(source: str) -> Iterator[str]:
    """Yield the modules and packages that a source imports, ours and others'.

    What only the type checker reads is no import.
    """
    for node in ast.walk(_Executed().visit(ast.parse(source))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in SOURCES else str(node.module)
        elif isinstance(node, ast.Call) and _imports_by_name(node):
            yield from (text for arg in node.args if (text := _text(arg)))


def _text(node: ast.expr) -> str:
    """Return a literal text; that of anything else is empty."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(ast.literal_eval(node)) if is_text else ""


def _imports_by_name(node: ast.Call) -> bool:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in ("import_module", "__import__")


def ours(module: str, source: str) -> set[str]:
    """Return the modules and packages of this project that `module` imports."""
    return {name for name in imports(source) if name in SOURCES} - {module}


def offences(module: str, source: str) -> list[str]:
    """Return what `module` may not import, in words."""
    room = room_of(module)
    allowed = {room, *MAY_KNOW[room]} | ({GROUND} if room != TOP else set())
    found = [
        f"{module} imports {name}, of the room {room_of(name)}"
        for name in sorted(ours(module, source))
        if room_of(name) not in allowed
    ]
    if module not in BY_NAME and any(
        isinstance(node, ast.Call)
        and _imports_by_name(node)
        and not (node.args and _text(node.args[0]))
        for node in ast.walk(ast.parse(source))
    ):
        found.append(f"{module} imports by a name that nobody can know beforehand")
    return found


def circle(sources: Mapping[str, str], room: str) -> list[str]:
    """Return modules of a room that import each other in a circle; empty if none do."""
    graph = {
        module: {n for n in ours(module, source) if room_of(n) == room}
        for module, source in sources.items()
        if room_of(module) == room and module not in PACKAGES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_what_its_room_may_know(module: str) -> None:
    assert offences(module, SOURCES[module]) == []


def test_the_table_has_every_room_and_nothing_else() -> None:
    rooms = {room_of(module) for module in SOURCES}
    assert rooms == set(MAY_KNOW)
    assert {known for of_room in MAY_KNOW.values() for known in of_room} <= rooms


def test_the_table_allows_nothing_that_is_not_done() -> None:
    """What a room may know and does not is a door that nobody has asked for."""
    for room, known in MAY_KNOW.items():
        done = {
            room_of(name)
            for module, source in SOURCES.items()
            if room_of(module) == room
            for name in ours(module, source)
        }
        assert known <= done, f"{room} does not know {sorted(known - done)}"


def _face(room: str) -> set[str]:
    """Return the modules that the docstring of a room says others use."""
    package = room if room.startswith("analysis.") else f"experiments.{room}"
    docstring = ast.get_docstring(ast.parse(SOURCES[package])) or ""
    said = [p for p in docstring.split("\n\n") if p.startswith("Others use: ")]
    assert said or "No other room imports" in docstring
    names = " ".join(" ".join(said).split()).removeprefix("Others use: ")
    return set(filter(None, names.removesuffix(".").split(", ")))


@pytest.mark.parametrize(
    "room", sorted(MAY_KNOW.keys() - {GROUND, TOP, "analysis", "workloads"})
)
def test_the_face_of_a_room_is_what_its_docstring_says(room: str) -> None:
    used = {
        name.rpartition(".")[2]
        for module, source in SOURCES.items()
        for name in ours(module, source) - PACKAGES
        if room_of(name) == room != room_of(module)
    }
    assert used == _face(room)


def test_rooms_do_not_know_each_other_in_circles() -> None:
    graphlib.TopologicalSorter(MAY_KNOW).prepare()


@pytest.mark.parametrize("room", MAY_KNOW)
def test_no_circle_inside_a_room(room: str) -> None:
    assert circle(SOURCES, room) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("experiments.model", "from experiments import backends"),
        ("experiments.model", "from experiments import samplers, kernel, loaders"),
        (
            "experiments.model",
            "import importlib; importlib.import_module('experiments.commands.run')",
        ),
        ("experiments.errors", "from experiments.support import files, failpoints"),
        ("experiments.support.proc", "from experiments.kernel import bpf"),
        ("experiments.agent.run_job", "from experiments.build import builder"),
        ("experiments.agent.run_job", "from experiments.plan import blocks"),
        ("experiments.backends.vm", "from workloads import hackbench"),
        ("experiments.registry", "from experiments.store import experiment"),
        ("analysis.stats.estimators", "from analysis.report import html"),
        ("analysis.stats.estimators", "from analysis import aggregate"),
        ("analysis.load.frames", "from experiments.run.runner import run_experiment"),
        ("experiments.run.lanes", "def f() -> None:\n    import experiments.doctor"),
        ("tasks", "from experiments.run import runner"),
        ("experiments.model", "import importlib; importlib.import_module(name)"),
    ],
)
def test_a_planted_import_is_found(module: str, line: str) -> None:
    assert offences(module, f"{SOURCES[module]}\n{line}\n")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("experiments.errors", "from experiments import model, registry"),
        (
            "experiments.doctor.stale_files",
            "from experiments.doctor import diagnose, examine",
        ),
        ("analysis.stats.estimators", "from analysis.stats import significance"),
        ("experiments.kernel.bpf", "from experiments.kernel import map_count"),
    ],
)
def test_a_planted_circle_is_found(module: str, line: str) -> None:
    planted = {**SOURCES, module: f"{SOURCES[module]}\n{line}\n"}
    assert circle(planted, room_of(module))


@pytest.mark.parametrize("module", [m for m in SOURCES if not m.startswith("analysis")])
def test_no_command_loads_the_analysis_before_it_needs_it(module: str) -> None:
    """With it come pandas, SciPy and seaborn, which take seconds."""
    for node in ast.parse(SOURCES[module]).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [a.name for a in node.names]
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else named
            heavy = {n.split(".")[0] for n in named} & {"analysis", *HEAVY}
            assert not heavy, f"import {heavy} where it is used"


def test_the_guest_has_the_packages_that_its_rooms_import() -> None:
    """The standard library, and packages of the lab root."""
    packages = {
        p.removeprefix("python3-") for p in lab_root.PACKAGES if "python3-" in p
    }
    there = packages | sys.stdlib_module_names | {"experiments", "workloads"}
    seen: set[str] = set()
    staged = {_name(PROJECT / path) for path in staging.guest_files()}
    todo = [m for m in SOURCES if room_of(m) in GUEST_ROOMS and m in staged]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        for name in imports(SOURCES[module]):
            assert name.split(".")[0] in there, f"{module} imports {name}"
        todo += ours(module, SOURCES[module])
    assert "experiments.agent.workload_driver" in seen
