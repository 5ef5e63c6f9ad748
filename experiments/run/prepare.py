# SPDX-License-Identifier: GPL-2.0-only
"""What runs on this machine need: built objects, a backend, and facts about both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments import paths, registry
from experiments.build.builder import Builder
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.machine import facts
from experiments.model import Plan
from experiments.plan.config import Config
from experiments.plugins import Backend
from experiments.run.attempts import BuiltObjects
from experiments.store.machine_facts import MachineFacts
from experiments.support import failpoints


@dataclass(frozen=True)
class Prepared:
    """What runs on this machine need, and what is known of it."""

    root: LabRoot
    kernel: Kernel
    backend: Backend
    built: BuiltObjects
    facts: Mapping[str, Any]


def prepare(config: Config, plan: Plan) -> Prepared:
    """Build all that `plan` needs.

    Raises MissingRequirement, BuildError or ConfigError.
    """
    root, kernel = target(config)
    built = build_all(plan, root, kernel)
    failpoints.step("built")
    backend = registry.backend(config.backend)(config, root, kernel)
    return Prepared(root, kernel, backend, built, _facts(config, backend, built))


def target(config: Config) -> tuple[LabRoot, Kernel]:
    """Return what to build with, and the kernel to build for: the backend knows."""
    return registry.backend(config.backend).target(config)


def build_all(plan: Plan, root: LabRoot, kernel: Kernel) -> BuiltObjects:
    """Return the object of every scheduler and variant of `plan`."""
    builder = Builder(root, kernel)
    builder.tools()
    return {(b.scheduler, b.variant.name): builder.build(b) for b in plan.builds}


def machine_facts(config: Config, root: LabRoot, kernel: Kernel) -> Mapping[str, Any]:
    """Return what an experiment of `config` would say of the machine it runs on."""
    backend = registry.backend(config.backend)(config, root, kernel)
    return {**facts.machine(paths.PROJECT), **backend.facts()}


def _facts(config: Config, backend: Backend, built: BuiltObjects) -> Mapping[str, Any]:
    objects = {
        f"{scheduler}/{variant}": {"sha256": o.sha256, "ops": o.ops_name}
        for (scheduler, variant), o in built.items()
    }
    tools = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths.BIN.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    used = MachineFacts(objects=objects, tools=tools, map=config.map).written("map")
    return {**facts.machine(paths.PROJECT), **backend.facts(), **used}
