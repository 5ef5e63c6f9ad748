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
    results: Path, facts: Mapping[str, Any], treatment: str
) -> Iterator[Experiment]:
    """Yield experiments with this treatment on the machine of `facts`, newest first.

    None where `facts` do not tell which machine it is.
    """
    machine = _machine(facts)
    if machine is None:
        return
    found = [
        (manifest.created, experiment.path.name, experiment)
        for experiment in experiments(results)
        if (manifest := _manifest(experiment, treatment))
        and _machine(manifest.facts) == machine
    ]
    for _, _, experiment in sorted(found, key=lambda f: f[:2], reverse=True):
        yield experiment


def _manifest(experiment: Experiment, treatment: str) -> Manifest | None:
    """Return the manifest, None for another treatment or one not readable."""
    try:
        # Most have another: a look at the text saves reading them in full
        if f'"treatment": "{treatment}"' not in experiment.manifest_path.read_text():
            return None
        manifest = experiment.manifest()
    except (FormatError, OSError, UnicodeDecodeError):
        return None
    return manifest if manifest.treatment == treatment else None


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
