# SPDX-License-Identifier: GPL-2.0-only
"""Several experiments as one, when what they were run on is the same.

Blocks are numbered anew, so that control and test of a repetition stay a pair and no
two of different experiments become one. The experiments themselves stay as they are.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError
from experiments.model import Plan, RunSpec
from experiments.store.comparable import unlike
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import BY_NAME, MachineFacts
from experiments.store.schema import Manifest, result_json
from experiments.support.files import atomic_write

#: What two runs of the same scheduler, variant and workload may differ in.
_OWN = ("run", "block", "seed")

#: Between the names of the parts, in that of the whole.
BETWEEN = "+"


def merge(parts: Sequence[Experiment], root: Path) -> Experiment:
    """Return the experiment `root`/<A>+<B>, made or brought up to date.

    Raises ConfigError naming what differs when the parts do not compare.
    """
    manifests = [part.manifest() for part in parts]
    for (a, one), (b, other) in itertools.combinations(
        zip(parts, manifests, strict=True), 2
    ):
        _check(a.path.name, one, b.path.name, other)
    renumbered = list(_renumbered(manifests))
    path = root / BETWEEN.join(part.path.name for part in parts)
    merged = _create(path, parts, manifests, [s for of in renumbered for s in of])
    for part, manifest, specs in zip(parts, manifests, renumbered, strict=True):
        for old, new in zip(manifest.specs, specs, strict=True):
            _take(part, old, merged, new)
    merged.record_all()
    return merged


# --- whether they compare -------------------------------------------------------------


def _check(a: str, one: Manifest, b: str, other: Manifest) -> None:
    found = [*_unlike_facts(one, other), *_unlike_runs(one, other)]
    if found:
        said = "; ".join(f"{what}: {x} in {a}, {y} in {b}" for what, x, y in found)
        raise ConfigError(f"{a} and {b} do not compare. They differ in {said}")


def _unlike_facts(one: Manifest, other: Manifest) -> Iterator[tuple[str, Any, Any]]:
    if one.treatment != other.treatment:
        yield "treatment", one.treatment, other.treatment
    yield from unlike(one.facts, other.facts)
    if not any(MachineFacts.of(m.facts).kernel_sha256 for m in (one, other)):
        yield "kernel_sha256, which is not known", None, None


def _unlike_runs(one: Manifest, other: Manifest) -> Iterator[tuple[str, Any, Any]]:
    arms = _arms(other)
    for arm, mine in _arms(one).items():
        for name, value in mine.items():
            if arm in arms and arms[arm][name] != value:
                yield f"{name} of {'/'.join(arm)}", value, arms[arm][name]


def _arms(manifest: Manifest) -> dict[tuple[str, ...], dict[str, Any]]:
    return {
        (s.scheduler, s.variant, s.workload): {
            f.name: getattr(s, f.name)
            for f in dataclasses.fields(s)
            if f.name not in _OWN
        }
        for s in manifest.specs
    }


# --- making it ------------------------------------------------------------------------


def _renumbered(manifests: Sequence[Manifest]) -> Iterator[list[RunSpec]]:
    """Yield the specs of each, with blocks and numbers of runs after those before."""
    blocks = 0
    runs: dict[tuple[str, str], int] = {}
    for manifest in manifests:
        yield [
            dataclasses.replace(
                s,
                block=s.block + blocks,
                run=s.run + runs.get((s.scheduler, s.workload), 0),
            )
            for s in manifest.specs
        ]
        blocks += max((s.block for s in manifest.specs), default=0)
        highest: dict[tuple[str, str], int] = {}
        for s in manifest.specs:
            cell = s.scheduler, s.workload
            highest[cell] = max(highest.get(cell, 0), s.run)
        for cell, run in highest.items():
            runs[cell] = runs.get(cell, 0) + run


def _create(
    path: Path,
    parts: Sequence[Experiment],
    manifests: Sequence[Manifest],
    specs: Sequence[RunSpec],
) -> Experiment:
    names = [part.path.name for part in parts]
    merged = Experiment(path)
    plan = Plan(manifests[0].seed, tuple(specs))
    if merged.manifest_path.exists():
        before = merged.manifest()
        if before.facts.get("merged") == names and before.plan_id != plan.plan_id:
            # Derived from experiments that were begun anew since: nothing is lost
            shutil.rmtree(path)
    merged = Experiment.create(path, plan, _config(manifests), _facts(names, manifests))
    boots = tuple(boot for m in manifests for boot in m.boots)
    merged.update(boots=boots, retries=sum(m.retries for m in manifests))
    return merged


def _config(manifests: Sequence[Manifest]) -> Mapping[str, Any]:
    """Return the config of the first, with `until_decided` if any part had it."""
    is_sequential = any(m.config.get("until_decided") for m in manifests)
    more = {"until_decided": True} if is_sequential else {}
    return {**manifests[0].config, **more}


def _facts(names: Sequence[str], manifests: Sequence[Manifest]) -> Mapping[str, Any]:
    facts = {**manifests[0].facts, "merged": list(names)}
    for name in BY_NAME:
        if any(name in m.facts for m in manifests):
            both = [m.facts.get(name) or {} for m in manifests]
            facts[name] = {k: v for of in both for k, v in of.items()}
    return facts


def _take(part: Experiment, old: RunSpec, merged: Experiment, new: RunSpec) -> None:
    """Put a finished run's files under its new number, the JSON last."""
    stored = part.stored(old)
    if stored is None:
        return
    result = stored.result
    facts = {**result.facts, "merged_from": f"{part.path.name}/{old.label}"}
    taken = dataclasses.replace(result, spec=new, run_id=new.run_id, facts=facts)
    mine, theirs = merged.files(new), part.files(old)
    data = result_json(taken, stored.files)
    if mine.json.exists() and mine.json.read_bytes() == data:
        return
    mine.json.parent.mkdir(parents=True, exist_ok=True)
    for source, target in zip(theirs.hashed, mine.hashed, strict=True):
        target.unlink(missing_ok=True)
        if source.exists():
            _link(source, target)
    atomic_write(mine.json, data)


def _link(source: Path, target: Path) -> None:
    """Link `source` to `target`, or copy it: finished files do not change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
