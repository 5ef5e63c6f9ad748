# SPDX-License-Identifier: GPL-2.0-only
"""Experiments of the same machine: what was measured there holds for later ones.

What a sampler costs and how much runs scatter depends on the kernel, the accelerator,
the CPUs and the memory, so nothing else will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.errors import FormatError
from experiments.store.experiment import Experiment, experiments
from experiments.store.machine_facts import Host, MachineFacts
from experiments.store.schema import Manifest


def newest(
    results: Path, facts: Mapping[str, Any], prefix: str
) -> Iterator[Experiment]:
    """Those below `results` named `prefix`..., of the machine of `facts`, newest first.

    None where `facts` do not tell which machine it is.
    """
    machine = _machine(facts)
    if machine is None:
        return
    found = [
        (manifest.created, experiment.path.name, experiment)
        for experiment in experiments(results)
        if (manifest := _manifest(experiment, prefix))
        and _machine(manifest.facts) == machine
    ]
    for _, _, experiment in sorted(found, key=lambda f: f[:2], reverse=True):
        yield experiment


def _manifest(experiment: Experiment, prefix: str) -> Manifest | None:
    """None of an experiment of another name, and of what cannot be read."""
    if not experiment.path.name.startswith(prefix):
        return None
    try:
        return experiment.manifest()
    except (FormatError, OSError):
        return None


def _machine(facts: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Return what has to be equal; None where it is not known or not understood."""
    try:
        known = MachineFacts.of(facts)
    except FormatError:
        return None
    if not known.kernel_sha256:
        return None
    vm, host = known.vm or {}, known.host or Host()
    guest = (vm.get("cpus"), vm.get("memory_mb"))
    return (known.kernel_sha256, known.accel, *guest, host.cpu, host.cpus)
