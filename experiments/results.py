# SPDX-License-Identifier: GPL-2.0-only
"""The layout of `results/`: where a run's files are, and what the manifest says.

    results/<experiment>/
        manifest.json
        <scheduler>/<variant>/<workload>_run<N>.{csv,json}
        <scheduler>/<variant>/<workload>_run<N>_{dmesg,workload}.log
        attempts/<run id>-<k>/     what a run that was repeated, or went wrong, left
        boots/boot<K>_console.log

A run's JSON file is written last and by renaming, so a run is finished exactly when it
is there. Nothing that is finished is ever overwritten.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from experiments.errors import ConfigError, FormatError
from experiments.model import Outcome, Plan, RunResult, RunSpec

#: 1: the first format.
SCHEMA = 1

#: Outcomes that say nothing about the scheduler: such a run is repeated.
REPEATED = frozenset({Outcome.LOST, Outcome.SKIPPED})


class RunFiles(NamedTuple):
    """The files of one run."""

    csv: Path
    dmesg: Path
    workload: Path
    json: Path


#: In the facts: blocks that were not begun because their cells were decided.
NOT_NEEDED = "blocks_not_needed"


@dataclass(frozen=True)
class Manifest:
    """What an experiment is, and what became of it."""

    schema: int
    experiment: str
    created: str
    plan_id: str
    seed: int
    specs: tuple[RunSpec, ...]
    config: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    boots: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class _StoredResult:
    schema: int
    result: RunResult


_T = TypeVar("_T")
_MANIFEST = TypeAdapter(Manifest)
_RESULT = TypeAdapter(_StoredResult)


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write `data` so that `path` holds either all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _read(adapter: TypeAdapter[_T], path: Path) -> _T:
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise FormatError(f"{path} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise FormatError(f"{path}: {where}: {first['msg']}") from None


def result_json(result: RunResult) -> bytes:
    """What the JSON file of a run holds."""
    return _RESULT.dump_json(_StoredResult(SCHEMA, result), indent=1)


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
        """Raises FormatError naming the file and the field when it is not readable."""
        manifest = _read(_MANIFEST, self.manifest_path)
        if manifest.schema != SCHEMA:
            raise FormatError(
                f"{self.manifest_path}: schema {manifest.schema}; "
                f"this version reads {SCHEMA}"
            )
        return manifest

    def _write(self, manifest: Manifest) -> None:
        atomic_write(self.manifest_path, _MANIFEST.dump_json(manifest, indent=1))

    def update(self, **changes: Any) -> None:
        """Replace fields of the manifest."""
        self._write(dataclasses.replace(self.manifest(), **changes))

    def files(self, spec: RunSpec) -> RunFiles:
        stem = f"{self.path}/{spec.label}"
        return RunFiles(
            Path(f"{stem}.csv"),
            Path(f"{stem}_dmesg.log"),
            Path(f"{stem}_workload.log"),
            Path(f"{stem}.json"),
        )

    def stamp(self, spec: RunSpec) -> str | None:
        """What changes with the CSV or the JSON of a run; None when it is not done.

        Of each file the inode, the size in bytes and the time of its last change in
        ns. Text, not Path: it is asked of every run of tens of thousands.
        """
        stem = f"{self.path}/{spec.label}"
        stored = _stamp(f"{stem}.json")
        return None if stored is None else f"{_stamp(f'{stem}.csv')} {stored}"

    def result(self, spec: RunSpec) -> RunResult | None:
        """The result of a finished run; None when it has not been done."""
        path = self.files(spec).json
        return _read(_RESULT, path).result if path.exists() else None

    def results(self) -> Iterator[RunResult]:
        """The results that there are, in the order of the plan."""
        for spec in self.manifest().specs:
            if (result := self.result(spec)) is not None:
                yield result

    def pending(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """The runs still to do: those without a result, and those to repeat."""
        done = [(spec, self.result(spec)) for spec in specs]
        return [s for s, r in done if r is None or r.outcome in REPEATED]

    def new_attempt(self, spec: RunSpec) -> Path:
        """An empty directory for a run's files until the run is finished."""
        k = 1
        while (path := self.path / "attempts" / f"{spec.run_id}-{k}").exists():
            k += 1
        path.mkdir(parents=True)
        return path

    def finish(self, result: RunResult, attempt: Path) -> None:
        """Make `result` the outcome of its run; the JSON file goes in last.

        The measurements of an OK run move to their place among the results; those of
        any other stay in `attempt`, where no reader takes them for data.
        """
        files = self.files(result.spec)
        files.json.parent.mkdir(parents=True, exist_ok=True)
        moved = {"dmesg.log": files.dmesg, "workload.log": files.workload}
        if result.outcome is Outcome.OK:
            (attempt / "samples.csv").rename(files.csv)
            for name, target in moved.items():
                if (attempt / name).exists():
                    (attempt / name).rename(target)
        elif (attempt / "dmesg.log").exists():
            shutil.copyfile(attempt / "dmesg.log", files.dmesg)
        atomic_write(files.json, result_json(result))
        if result.outcome in (Outcome.OK, Outcome.SKIPPED):
            shutil.rmtree(attempt)

    def count_outcomes(self) -> dict[str, int]:
        counts = Counter(r.outcome.value for r in self.results())
        self.update(outcomes=dict(counts))
        return dict(counts)


def _stamp(path: str) -> str | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def experiments(root: Path) -> list[Experiment]:
    """The experiments below `root`, the newest last."""
    found = sorted(
        root.glob("*/manifest.json"), key=lambda p: (p.stat().st_mtime, p.parent.name)
    )
    return [Experiment(p.parent) for p in found]
