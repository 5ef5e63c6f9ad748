# SPDX-License-Identifier: GPL-2.0-only
"""Fake clusters, and experiments run on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from experiments.cluster import coordinator, membership, session
from experiments.machine import facts
from experiments.model import Outcome, Plan
from experiments.plan import config
from experiments.run.prepare import Prepared
from experiments.run.runner import run_experiment
from experiments.store.experiment import Experiment
from tests.unit.cluster.fakes import (
    CONFIG,
    FACTS,
    NOW,
    Backend,
    Cluster,
    lock_of_host,
)
from tests.unit.run.fakes import always


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def prepare(asked: config.Config, plan: Plan) -> Prepared:
        name = NOW[-1]._name
        known = made[-1].facts.get(name, FACTS)
        nothing = cast("Any", None)  # there is no lab root, and no kernel
        return Prepared(nothing, nothing, made[-1].backends[name], {}, known)

    monkeypatch.setattr(session, "prepare", prepare)
    # Each host has a cache, and so a lock, of its own
    monkeypatch.setattr(session, "measuring_lock", lambda: lock_of_host(tmp_path))
    monkeypatch.setattr(facts, "git_revision", lambda project: "1" * 40)
    monkeypatch.setattr(facts, "revision", lambda project: "commit 1, source 2")
    monkeypatch.setattr(membership, "GRACE_S", 0.0)

    def cluster(*names: str, **backends: Backend) -> Cluster:
        every = {name: Backend(always(Outcome.OK)) for name in names} | backends
        made.append(Cluster(tmp_path / "hosts", every))
        return made[-1]

    yield cluster
    for cluster_made in made:
        for member in cluster_made.members.values():
            member.close()


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Experiment]:
    def go(cluster: Cluster, **more: Any) -> Experiment:
        place = coordinator.ClusterHosts(cluster, CONFIG)
        return run_experiment(CONFIG, "e", tmp_path, place=place, **more)

    return go
