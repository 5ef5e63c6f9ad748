# SPDX-License-Identifier: GPL-2.0-only
"""What the JSON files of an experiment hold, and how they are read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from experiments.errors import FormatError
from experiments.model import Outcome, RunResult, RunSpec
from experiments.support.files import Fingerprint, fingerprint

#: 1: the first format.
SCHEMA = 1


@dataclass(frozen=True)
class RunFiles:
    """The files of one run: what their paths begin with.

    A path is made when it is asked for: of tens of thousands of runs two each are read.
    """

    stem: str

    @property
    def csv(self) -> Path:
        return Path(f"{self.stem}.csv")

    @property
    def dmesg(self) -> Path:
        return Path(f"{self.stem}_dmesg.log")

    @property
    def workload(self) -> Path:
        return Path(f"{self.stem}_workload.log")

    @property
    def dump(self) -> Path:
        return Path(f"{self.stem}_dump.log")

    @property
    def json(self) -> Path:
        return Path(f"{self.stem}.json")

    @property
    def hashed(self) -> tuple[Path, ...]:
        """All but the JSON, which has the hashes of these."""
        return self.csv, self.dmesg, self.workload, self.dump

    def __iter__(self) -> Iterator[Path]:
        return iter((*self.hashed, self.json))


#: In the facts: blocks that were not begun because their cells were decided.
NOT_NEEDED = "blocks_not_needed"


@dataclass(frozen=True)
class Recorded:
    """A finished run as the manifest has it: its outcome and the hash of its JSON."""

    outcome: Outcome
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an experiment is, and what became of it; ``results`` are by run id."""

    schema: int
    experiment: str
    created: str
    plan_id: str
    seed: int
    specs: tuple[RunSpec, ...]
    config: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[str, Recorded] = field(default_factory=dict)
    retries: int = 0
    boots: tuple[Mapping[str, Any], ...] = ()

    @property
    def treatment(self) -> str:
        """What tells its variants apart: `cleanup`, `samplers`, or `none` (A/A)."""
        return str(self.config.get("treatment", "cleanup"))


@dataclass(frozen=True)
class StoredResult:
    """A run's JSON file; ``files`` are its others, by the end of their names."""

    schema: int
    result: RunResult
    files: Mapping[str, Fingerprint] = field(default_factory=dict)


_T = TypeVar("_T")
MANIFEST = TypeAdapter(Manifest)
RESULT = TypeAdapter(StoredResult)


def read(adapter: TypeAdapter[_T], path: Path) -> _T:
    """Read a JSON file; FormatError naming it and the first field that is wrong."""
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise FormatError(f"{path} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise FormatError(f"{path}: {where}: {first['msg']}") from None


def fingerprints(files: RunFiles) -> dict[str, Fingerprint]:
    """Return fingerprints of a run's files but its JSON, by the end of their names."""
    stem = files.csv.name.removesuffix(".csv")
    there = [path for path in files.hashed if path.exists()]
    return {path.name.removeprefix(stem): fingerprint(path) for path in there}


def result_json(
    result: RunResult, files: Mapping[str, Fingerprint] | None = None
) -> bytes:
    """Return what the JSON file of a run holds."""
    return RESULT.dump_json(StoredResult(SCHEMA, result, files or {}), indent=1)
