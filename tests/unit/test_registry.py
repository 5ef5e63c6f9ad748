# SPDX-License-Identifier: GPL-2.0-only
"""A module that is there is known by its name, and by nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments import paths, registry
from experiments.agent import run_job
from experiments.columns import CSV_COLUMNS, header
from experiments.errors import ConfigError
from experiments.machine import facts
from experiments.model import BuiltObject, Job
from experiments.plan.blocks import build_plan
from experiments.plan.config import parse_config
from experiments.run import prepare
from experiments.run.lanes import lanes_of
from experiments.run.runner import run_experiment
from tests.unit.workloads.test_workloads import spec_for

Add = Callable[[str, str, str], None]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Add a module to a package, in a directory of its own."""

    def one(package: str, module: str, source: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        parent = importlib.import_module(package)
        monkeypatch.setattr(parent, "__path__", [*parent.__path__, str(tmp_path)])
        importlib.invalidate_caches()
        registry.names.cache_clear()
        added.append(f"{package}.{module}")

    added: list[str] = []
    yield one
    for name in added:
        sys.modules.pop(name, None)
    registry.names.cache_clear()


LOADER = """
class Loader:
    name = "by-hand"

    def missing(self, job):
        return ("nobody is there",)

LOADER = Loader()
"""


def test_a_loader_is_a_file_and_an_object_that_names_it(add: Add) -> None:
    with pytest.raises(ConfigError, match="by-hand"):
        registry.loader("by-hand")
    add("experiments.loaders", "by_hand", LOADER)
    spec = spec_for(registry.workload("custom-churn"))
    by_hand = BuiltObject(Path(), "", "", "", "", "", {}, {}, loader="by-hand")
    job = Job(spec, by_hand, Path(), Path())
    assert job.loader == "by-hand"
    assert registry.loader(job.loader).missing(job) == ("nobody is there",)


@pytest.mark.parametrize(
    ("built", "loader"),
    [
        (None, "none"),
        (BuiltObject(Path(), "", "", "", "", "", {}, {}), "scx"),
    ],
)
def test_without_a_word_of_it_objects_are_loaded_by_scx(
    built: BuiltObject | None, loader: str
) -> None:
    spec = spec_for(registry.workload("custom-churn"))
    assert Job(spec, built, Path(), Path()).loader == loader
    assert registry.loader(loader).name == loader


SAMPLER = """
from experiments.columns import Column, Kind
from experiments.plugins import Sampler

class Hits(Sampler):
    name = "cache-hits"
    by_default = False
    columns = (Column("hits", "hits", "hits of the cache", Kind.COUNTER),)

SAMPLER = Hits
"""


def test_a_sampler_is_a_file_with_its_columns(add: Add) -> None:
    add("experiments.samplers", "cache_hits", SAMPLER)
    asked = parse_config({"schema": 1, "samplers": ["forks", "cache-hits"]}, "test")
    (spec, *_) = build_plan(asked).specs
    chosen = run_job.chosen_samplers(spec)
    names = header(column for kind in chosen for column in kind.columns)
    assert names == (*CSV_COLUMNS, "hits")
    assert "hits" in {column.name for column in registry.columns()}


WORKLOAD = """
from experiments.model import Parameter

class Idle:
    name = "idle"
    summary = "nothing at all"
    parameters = {"for_s": Parameter(1, 1, 10, "seconds")}
    sustained = True

WORKLOAD = Idle()
"""


def test_a_workload_is_a_file_with_its_settings(add: Add) -> None:
    add("workloads", "idle", WORKLOAD)
    settings = {"workloads": ["idle"], "workload": {"idle": {"for_s": 3}}}
    asked = parse_config({"schema": 1, **settings}, "test")
    (spec, *_) = build_plan(asked).specs
    assert spec.workload == "idle" and spec.workload_params == {"for_s": 3}
    with pytest.raises(ConfigError, match="for_s is 11"):
        parse_config({"schema": 1, "workload": {"idle": {"for_s": 11}}}, "test")


BACKEND = """
from experiments.model import Outcome
from tests.unit.run.fakes import FakeBackend, always

class Shed(FakeBackend):
    name = "shed"

    @classmethod
    def target(cls, config):
        return None, None

    def __init__(self, config, root, kernel):
        super().__init__(always(Outcome.OK))

BACKEND = Shed
"""


def test_a_backend_is_a_file(
    add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("experiments.backends", "shed", BACKEND)
    monkeypatch.setattr(prepare, "build_all", lambda *made_from: {})
    monkeypatch.setattr(facts, "machine", lambda project: {})
    monkeypatch.setattr(paths, "BIN", tmp_path)
    shed = {"schema": 1, "backend": "shed"}
    done = run_experiment(parse_config(shed, "test"), "e", tmp_path)
    assert done.manifest().outcomes == {"OK": 6}
    assert not registry.backend("shed").is_this_machine
    several = parse_config({**shed, "vm": {"jobs": 2}}, "test")
    with pytest.raises(ConfigError, match="the backend shed is one"):
        lanes_of(several)
