# SPDX-License-Identifier: GPL-2.0-only
"""The layout of `results/`: where a run's files are, and what the manifest says.

    results/<experiment>/
        manifest.json
        <scheduler>/<variant>/<workload>_run<N>.{csv,json}
        <scheduler>/<variant>/<workload>_run<N>_{dmesg,workload,dump}.log
        attempts/<run id>-<k>/     what a run that was repeated, or went wrong, left
        boots/boot<K>_console.log

A run's JSON file is written last and by renaming, so a run is finished exactly when it
is there. Nothing that is finished is ever overwritten. The JSON has the hashes of the
run's other files, the manifest that of the JSON.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError, FormatError, MissingRequirement
from experiments.model import Plan, RunResult, RunSpec
from experiments.store.schema import (
    MANIFEST,
    RESULT,
    SCHEMA,
    Manifest,
    Recorded,
    RunFiles,
    StoredResult,
    fingerprints,
    read,
    result_json,
)
from experiments.support import failpoints, locks
from experiments.support.files import atomic_write, move

#: Beside the manifest: held by whoever works on the experiment.
LOCK = locks.LOCK

#: An experiment is not begun, or gone on with, where there is less room than this.
LEAST_FREE_MB = 64


#: What stands beside the JSON of a run that went wrong, and where; for it is read.
_KEPT_OF_FAULTS: Mapping[str, Callable[[RunFiles], Path]] = {
    "dmesg.log": lambda files: files.dmesg,
    "dump.log": lambda files: files.dump,
}

#: Held by a thread that reads, changes and writes a manifest.
_MANIFEST_GUARD = threading.RLock()


class Experiment:
    """A handle on one directory below `results/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls, path: Path, plan: Plan, config: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Experiment:
        """Begin an experiment, or go on with the one that has the same plan.

        Raises ConfigError when `path` holds an experiment with another plan.
        """
        self = cls(path)
        if self.manifest_path.exists():
            if self.manifest().plan_id != plan.plan_id:
                raise ConfigError(
                    f"{path} holds another experiment (its plan differs); "
                    "give this one another name with --experiment"
                )
            return self
        self._write(
            Manifest(
                schema=SCHEMA,
                experiment=path.name,
                created=datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
                plan_id=plan.plan_id,
                seed=plan.seed,
                specs=plan.specs,
                config=config,
                facts=facts,
            )
        )
        return self

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    def manifest(self) -> Manifest:
        """Return the manifest.

        Raises FormatError naming the file and the field when it is not
        readable.
        """
        manifest = read(MANIFEST, self.manifest_path)
        if manifest.schema != SCHEMA:
            raise FormatError(
                f"{self.manifest_path}: schema {manifest.schema}; "
                f"this version reads {SCHEMA}"
            )
        return manifest

    def _write(self, manifest: Manifest) -> None:
        atomic_write(
            self.manifest_path,
            MANIFEST.dump_json(manifest, indent=1),
            lambda: failpoints.step("manifest beside its place"),
        )

    def update(self, **changes: Any) -> None:
        """Replace fields of the manifest."""
        with _MANIFEST_GUARD:
            self._write(dataclasses.replace(self.manifest(), **changes))

    def add_retry(self) -> None:
        with _MANIFEST_GUARD:
            self.update(retries=self.manifest().retries + 1)

    def add_boot(self, said: Mapping[str, Any]) -> int:
        """Record another boot; its number, from 1."""
        with _MANIFEST_GUARD:
            boots = self.manifest().boots
            number = len(boots) + 1
            self.update(boots=(*boots, {"boot": number, **said}))
        return number

    def add_to_boot(self, number: int, said: Mapping[str, Any]) -> None:
        """Record more of a boot."""
        with _MANIFEST_GUARD:
            boots = list(self.manifest().boots)
            boots[number - 1] = {**boots[number - 1], **said}
            self.update(boots=tuple(boots))

    def files(self, spec: RunSpec) -> RunFiles:
        return RunFiles(f"{self.path}/{spec.label}")

    def stamp(self, spec: RunSpec) -> str | None:
        """Return what changes with the CSV or the JSON of a run.

        None when it is not done.

        Of each file the inode, the size in bytes and the time of its last
        change in ns. Text, not Path: it is asked of every run of tens of
        thousands.
        """
        stem = f"{self.path}/{spec.label}"
        stored = _stamp(f"{stem}.json")
        return None if stored is None else f"{_stamp(f'{stem}.csv')} {stored}"

    def stored(self, spec: RunSpec) -> StoredResult | None:
        """Return the JSON of a finished run; None when it has not been done.

        Raises FormatError when the file is not that.
        """
        path = self.files(spec).json
        return read(RESULT, path) if path.exists() else None

    def result(self, spec: RunSpec) -> RunResult | None:
        """Return the result of a finished run; None when it has not been done."""
        stored = self.stored(spec)
        return None if stored is None else stored.result

    def finished(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Return the runs that have a result, whatever it is."""
        return [spec for spec in specs if self.stamp(spec) is not None]

    def results(self) -> Iterator[RunResult]:
        """Yield the results that there are, in the order of the plan."""
        for spec in self.manifest().specs:
            if (result := self.result(spec)) is not None:
                yield result

    def pending(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Return the runs still to do: those without a result, and those to repeat."""
        done = [(spec, self.result(spec)) for spec in specs]
        return [s for s, r in done if r is None or r.outcome.is_repeated]

    def new_attempt(self, spec: RunSpec) -> Path:
        """Return an empty directory for a run's files until the run is finished.

        Raises MissingRequirement when there is too little room for them.
        """
        free_mb = shutil.disk_usage(self.path).free // 1_000_000
        if free_mb < LEAST_FREE_MB:
            raise MissingRequirement(
                f"{self.path}: {free_mb} MB are left on that disk, {LEAST_FREE_MB} are "
                "needed for a run: make room, and the same command goes on"
            )
        k = 1
        while (path := self.path / "attempts" / f"{spec.run_id}-{k}").exists():
            k += 1
        path.mkdir(parents=True)
        return path

    def attempts(self, spec: RunSpec) -> list[Path]:
        """Return the directories of a run's attempts that are left, oldest first."""
        found = (self.path / "attempts").glob(f"{spec.run_id}-*")
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))

    def finish(self, result: RunResult, attempt: Path) -> None:
        """Make `result` the outcome of its run; the JSON file goes in last.

        The measurements of an OK run move to their place among the results; those of
        any other stay in `attempt`, where no reader takes them for data.
        """
        files = self.files(result.spec)
        self._put_in_place(result, attempt, files)
        data = result_json(result, fingerprints(files))
        atomic_write(files.json, data, lambda: failpoints.step("json beside its place"))
        failpoints.step("json in place")
        self._record({result.run_id: _recorded(result, data)})
        failpoints.step("run recorded")
        if not result.outcome.is_fault:
            shutil.rmtree(attempt)
        failpoints.step("attempt removed")

    def _put_in_place(self, result: RunResult, attempt: Path, files: RunFiles) -> None:
        """Move all files of a run but its JSON.

        A runner that died may have left others, which go.
        """
        moved = {"dmesg.log": files.dmesg, "workload.log": files.workload}
        if result.outcome.is_data:
            move(attempt / "samples.csv", files.csv)
            failpoints.step("csv in place")
        else:
            files.csv.unlink(missing_ok=True)
        for name, target in moved.items():
            source = attempt / name
            if result.outcome.is_data and source.exists():
                move(source, target)
            else:
                target.unlink(missing_ok=True)
        files.dump.unlink(missing_ok=True)
        kept = {} if result.outcome.is_data else _KEPT_OF_FAULTS
        for name, place in kept.items():
            if (attempt / name).exists():
                atomic_write(place(files), (attempt / name).read_bytes())
        failpoints.step("logs in place")

    def _record(self, more: Mapping[str, Recorded]) -> None:
        with _MANIFEST_GUARD:
            results = {**self.manifest().results, **more}
            counts = Counter(recorded.outcome.value for recorded in results.values())
            self.update(results=results, outcomes=dict(counts))

    def record_unrecorded(self) -> None:
        """Record the run that a runner finished and died before it recorded it."""
        manifest = self.manifest()
        specs = [s for s in manifest.specs if s.run_id not in manifest.results]
        if found := self._of_files(specs):
            self._record(found)

    def record_all(self) -> dict[str, int]:
        """Take the results into the manifest as they are now; the counts of outcomes.

        For experiments whose files others have made.
        """
        self._record(self._of_files(self.manifest().specs))
        return dict(self.manifest().outcomes)

    def _of_files(self, specs: Sequence[RunSpec]) -> dict[str, Recorded]:
        found = {}
        for spec in specs:
            if (result := self.result(spec)) is not None:
                data = self.files(spec).json.read_bytes()
                found[spec.run_id] = _recorded(result, data)
        return found


def _recorded(result: RunResult, data: bytes) -> Recorded:
    return Recorded(result.outcome, hashlib.sha256(data).hexdigest())


def _stamp(path: str) -> str | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def experiments(root: Path) -> list[Experiment]:
    """Return the experiments below `root`, the newest last."""
    found = sorted(
        root.glob("*/manifest.json"), key=lambda p: (p.stat().st_mtime, p.parent.name)
    )
    return [Experiment(p.parent) for p in found]
