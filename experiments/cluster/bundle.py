# SPDX-License-Identifier: GPL-2.0-only
"""The runs of a block as a host hands them over: files with their hashes.

A host packs what its runs left; whoever collects the results checks every hash before
the first file is written, and finishes each run by the rules of store/experiment.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.errors import FormatError
from experiments.model import Outcome, RunResult, RunSpec
from experiments.store.experiment import Experiment
from experiments.store.schema import RESULT, result_json
from experiments.support.files import atomic_write

#: Nothing else is in the attempt of a run that was OK once it is finished.
_OF_OK = ("samples.csv", "dmesg.log", "workload.log", "dump.log")


@dataclass(frozen=True)
class File:
    name: str
    data: bytes
    sha256: str


@dataclass(frozen=True)
class BundledRun:
    """A run's JSON as its host has it, and the files of its attempts, the last its own.

    Of a run that was OK or SKIPPED only attempts that were lost have come before.
    """

    result: File
    attempts: tuple[tuple[File, ...], ...]
    wall_s: float


@dataclass(frozen=True)
class Bundle:
    """A block; ``boots`` are those of the host's ``session``, by its own numbers."""

    host: str
    session: str
    runs: tuple[BundledRun, ...]
    boots: Mapping[int, Mapping[str, Any]]
    consoles: tuple[File, ...]
    retries: int

    @property
    def bytes(self) -> int:
        return sum(len(file.data) for file in _files(self))


# --- on the host ----------------------------------------------------------------------


def read_file(path: Path, name: str = "") -> File:
    data = path.read_bytes()
    return File(name or path.name, data, hashlib.sha256(data).hexdigest())


def pack_run(experiment: Experiment, spec: RunSpec, wall_s: float) -> BundledRun:
    """Return a run that `experiment` has finished."""
    stored = experiment.stored(spec)
    assert stored is not None
    left = [tuple(map(read_file, _plain(p))) for p in experiment.attempts(spec)]
    if stored.result.outcome is Outcome.OK:
        found = zip(_OF_OK, experiment.files(spec).hashed, strict=True)
        left.append(tuple(read_file(p, name) for name, p in found if p.exists()))
    elif stored.result.outcome is Outcome.SKIPPED:
        left.append(())
    data = result_json(stored.result)
    result = File("result.json", data, hashlib.sha256(data).hexdigest())
    return BundledRun(result, tuple(left), wall_s)


def _plain(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


# --- where results are collected ------------------------------------------------------


def unpack(
    experiment: Experiment, bundle: Bundle, specs: Sequence[RunSpec], host_fact: str
) -> Iterator[tuple[RunResult, float]]:
    """Finish the runs `specs` by what `bundle` holds; each result and its wall time, s.

    Raises FormatError before anything is written when it is not the bundle of `specs`.
    """
    results = _checked(bundle, specs)
    numbers = _take_boots(experiment, bundle)
    for console in bundle.consoles:
        name = f"{bundle.host}-{bundle.session}_{console.name}"
        atomic_write(experiment.path / "boots" / name, console.data)
    for _ in range(bundle.retries):
        experiment.add_retry()
    for result, run in zip(results, bundle.runs, strict=True):
        facts = {**result.facts, host_fact: bundle.host}
        if "boot" in facts:
            facts["boot"] = numbers.get(facts["boot"], 0)
        named = dataclasses.replace(result, facts=facts)
        _finish(experiment, named, run)
        yield named, run.wall_s


def _files(bundle: Bundle) -> Iterator[File]:
    yield from bundle.consoles
    for run in bundle.runs:
        yield run.result
        for attempt in run.attempts:
            yield from attempt


def _checked(bundle: Bundle, specs: Sequence[RunSpec]) -> list[RunResult]:
    where = f"what host {bundle.host} sent"
    for file in _files(bundle):
        if Path(file.name).name != file.name or file.name in ("", "..", "."):
            raise FormatError(f"{where}: {file.name!r} is not the name of a file")
        if hashlib.sha256(file.data).hexdigest() != file.sha256:
            raise FormatError(f"{where}: {file.name} has another hash than was said")
    try:
        found = [RESULT.validate_json(run.result.data).result for run in bundle.runs]
    except ValidationError as error:
        raise FormatError(f"{where}: not the result of a run: {error}") from None
    if [result.spec for result in found] != list(specs) or not all(
        run.attempts for run in bundle.runs
    ):
        raise FormatError(f"{where}: the runs are not those it was asked for")
    return found


def _take_boots(experiment: Experiment, bundle: Bundle) -> dict[int, int]:
    """Return the experiment's own numbers of the host's boots, each recorded once."""
    known = {
        boot["of_host"]: boot["boot"]
        for boot in experiment.manifest().boots
        if boot.get("session") == bundle.session
    }
    for number, said in bundle.boots.items():
        if number not in known:
            mine = {k: v for k, v in said.items() if k != "boot"}
            mine |= {"host": bundle.host, "session": bundle.session, "of_host": number}
            known[number] = experiment.add_boot(mine)
    return known


def _finish(experiment: Experiment, result: RunResult, run: BundledRun) -> None:
    for files in run.attempts:
        attempt = experiment.new_attempt(result.spec)
        for file in files:
            (attempt / file.name).write_bytes(file.data)
    experiment.finish(result, attempt)
