# SPDX-License-Identifier: GPL-2.0-only
"""Whether an experiment's files are those that were finished: hashes, rows, schema."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.columns import is_header
from experiments.errors import FormatError
from experiments.model import Outcome, Plan, RunSpec
from experiments.store.experiment import Experiment
from experiments.store.schema import Manifest, Recorded, RunFiles, StoredResult
from experiments.support.files import Fingerprint, fingerprint


@dataclass(frozen=True)
class Problem:
    """A file, relative to the experiment, and what is wrong with it."""

    file: str
    what: str


@dataclass(frozen=True)
class Verified:
    """``files`` were looked at; ``unhashed`` runs are older than the hashes."""

    experiment: str
    runs: int
    files: int
    unhashed: int
    wrong: tuple[Problem, ...]


def verify_experiment(experiment: Experiment) -> Verified:
    """Look at every file of every run that is finished."""
    try:
        manifest = experiment.manifest()
    except FormatError as error:
        wrong = Problem("manifest.json", str(error).partition(": ")[2] or str(error))
        return Verified(experiment.path.name, 0, 1, 0, (wrong,))
    found = [*_of_manifest(experiment, manifest)]
    files = 1
    unhashed = 0
    for spec in manifest.specs:
        recorded = manifest.results.get(spec.run_id)
        seen = _Run(experiment, spec, recorded)
        found += seen.wrong()
        files += seen.files
        unhashed += seen.is_unhashed
    found += _unexpected_files(experiment, manifest)
    runs = len(experiment.finished(manifest.specs))
    return Verified(experiment.path.name, runs, files, unhashed, tuple(found))


def _of_manifest(experiment: Experiment, manifest: Manifest) -> Iterator[Problem]:
    here = "manifest.json"
    if Plan(manifest.seed, manifest.specs).plan_id != manifest.plan_id:
        yield Problem(here, "plan_id is not the hash of specs")
    ids = {spec.run_id for spec in manifest.specs}
    if len(ids) < len(manifest.specs):
        yield Problem(here, "a run is planned twice")
    if strange := set(manifest.results) - ids:
        yield Problem(here, f"results of runs that were not planned: {sorted(strange)}")
    counts = Counter(r.outcome.value for r in manifest.results.values())
    if manifest.results and dict(counts) != dict(manifest.outcomes):
        yield Problem(here, f"outcomes are {dict(counts)}, not {manifest.outcomes}")


class _Run:
    """One run's files against what its JSON and the manifest say of them."""

    def __init__(
        self, experiment: Experiment, spec: RunSpec, recorded: Recorded | None
    ) -> None:
        self._experiment = experiment
        self._spec = spec
        self._recorded = recorded
        self._paths: RunFiles = experiment.files(spec)
        self.files = 0
        self.is_unhashed = False

    def wrong(self) -> Iterator[Problem]:
        path = self._paths.json
        if not path.exists():
            if self._recorded is not None:
                yield self._at(path, "is missing")
            return
        self.files += 1
        if self._recorded is not None and _sha256(path) != self._recorded.sha256:
            yield self._at(path, "is not the file that was finished: another hash")
        try:
            stored = self._experiment.stored(self._spec)
        except FormatError as error:
            yield self._at(path, str(error).removeprefix(f"{path}: "))
            return
        if stored is not None:
            yield from self._of_stored(stored)

    def _of_stored(self, stored: StoredResult) -> Iterator[Problem]:
        path, result = self._paths.json, stored.result
        if result.run_id != self._spec.run_id or result.spec != self._spec:
            yield self._at(path, f"belongs to another run ({result.run_id})")
        if self._recorded and result.outcome is not self._recorded.outcome:
            outcome = self._recorded.outcome.value
            yield self._at(path, f"is {result.outcome}, in the manifest {outcome}")
        self.is_unhashed = not stored.files and result.outcome is Outcome.OK
        if self.is_unhashed and not self._paths.csv.exists():
            yield self._at(self._paths.csv, "is missing")
        if stored.files and self._recorded is None:
            yield self._at(path, "the manifest does not know it: invoke resume")
        yield from self._of_files(stored.files)

    def _of_files(self, expected: Mapping[str, Fingerprint]) -> Iterator[Problem]:
        stem = self._paths.csv.name.removesuffix(".csv")
        for path in self._paths.hashed:
            wanted = expected.get(path.name.removeprefix(stem))
            if wanted is None:
                if expected and path.exists():
                    yield self._at(path, "was not there when the run was finished")
                continue
            if not path.exists():
                yield self._at(path, "is missing")
                continue
            self.files += 1
            if what := _difference(fingerprint(path), wanted) or _bad_header(path):
                yield self._at(path, what)

    def _at(self, path: Path, what: str) -> Problem:
        return Problem(str(path.relative_to(self._experiment.path)), what)


def _difference(now: Fingerprint, then: Fingerprint) -> str:
    if now.rows != then.rows:
        return f"has {now.rows} rows, had {then.rows}"
    if now.bytes != then.bytes:
        return f"has {now.bytes} bytes, had {then.bytes}"
    return "" if now.sha256 == then.sha256 else "other contents: another hash"


def _bad_header(path: Path) -> str:
    if path.suffix != ".csv":
        return ""
    with path.open() as file:
        names = tuple(file.readline().rstrip("\n").split(","))
    return "" if is_header(names) else "its columns are not those of this schema"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unexpected_files(experiment: Experiment, manifest: Manifest) -> Iterator[Problem]:
    """Yield files among the runs' own that belong to no finished run."""
    ours: set[Path] = set()
    for spec in manifest.specs:
        files = experiment.files(spec)
        ours |= set(files) if files.json.exists() else set()
    for folder in sorted({path.parent for path in ours}):
        for path in sorted(folder.iterdir()):
            if path not in ours and path.is_file():
                name = str(path.relative_to(experiment.path))
                yield Problem(name, "belongs to no finished run")
