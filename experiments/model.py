# SPDX-License-Identifier: GPL-2.0-only
"""Frozen types that everything else speaks in.

Imported on the host and inside the guest, so it uses the standard library alone and
imports nothing of ours.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Scalar = bool | int | float | str
Params = Mapping[str, Scalar]

CONTROL = "control"
TEST = "test"
DEFAULT = "default"
NO_CLEANUP = "none"
#: How the knob of a number in read-only data begins: the variable's name follows.
SETTING = "set."
#: The loader of a run that has no scheduler of its own.
NO_LOADER = "none"


class Outcome(enum.StrEnum):
    """How a run ended. Only OK runs are data."""

    OK = "OK"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    EJECTED = "EJECTED"  # the kernel threw the scheduler out
    LOST = "LOST"  # the guest or the host died under it
    SKIPPED = "SKIPPED"  # a requirement was missing

    @property
    def is_data(self) -> bool:
        return self is Outcome.OK

    @property
    def is_repeated(self) -> bool:
        """Whether it says nothing about the scheduler, so that a resumed run is new."""
        return self in (Outcome.LOST, Outcome.SKIPPED)

    @property
    def is_fault(self) -> bool:
        """Whether something went wrong; the next run then gets a fresh boot."""
        return self not in (Outcome.OK, Outcome.SKIPPED)


@dataclass(frozen=True)
class Metric:
    """One number that a workload or a sampler yields for a whole run.

    ``resolution`` is how far apart two values are at least, in the unit; 0 for one that
    is exact, None where that is not known.
    """

    name: str
    value: float
    unit: str
    lower_is_better: bool
    resolution: float | None = None


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what one run does; two equal specs are the same run.

    ``samplers`` None stands for those that are on by default.
    """

    scheduler: str
    variant: str
    cleanup: str
    workload: str
    run: int  # the N of `<workload>_run<N>`, from 1
    block: int  # control and test of one repetition share a block
    seed: int
    duration_s: int
    sample_interval_s: float
    workload_params: Params
    knobs: Params  # compile-time settings of the scheduler and its cleanup
    samplers: tuple[str, ...] | None = None

    @functools.cached_property
    def run_id(self) -> str:
        """12 hexadecimal digits: the hash of the spec.

        Without `samplers` where there are none, as in results that are older than it.
        """
        spec = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.samplers is None:
            del spec["samplers"]
        return digest(spec)[:12]

    @property
    def label(self) -> str:
        return f"{self.scheduler}/{self.variant}/{self.workload}_run{self.run}"


def run_spec(raw: Mapping[str, Any]) -> RunSpec:
    """Return a spec from its JSON, in which tuples are lists."""
    samplers = raw.get("samplers")
    named = None if samplers is None else tuple(samplers)
    return RunSpec(**{**raw, "samplers": named})


@dataclass(frozen=True)
class Variant:
    """What one run of a block has and the others have not.

    ``name`` is that of its directory; what the variant is, the other fields say.
    ``samplers`` None stands for those of the experiment.
    """

    name: str
    cleanup: str
    knobs: Params
    samplers: tuple[str, ...] | None = None

    @property
    def settings(self) -> dict[str, int]:
        """Return the numbers to set in the scheduler's read-only data."""
        return {
            name.removeprefix(SETTING): int(value)
            for name, value in self.knobs.items()
            if name.startswith(SETTING)
        }


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built of a scheduler for one variant.

    ``file`` is a source or an object of the user's; without it the scheduler is one of
    this project, or ``variant.knobs["command"]`` loads it. ``include`` are directories
    for the user's sources. ``map_name`` is the map to watch; empty: the largest hash.
    """

    scheduler: str
    variant: Variant
    file: Path | None = None
    include: tuple[Path, ...] = ()
    map_name: str = ""

    @property
    def command(self) -> str:
        """Return the command line that loads the scheduler; empty if none does."""
        return str(self.variant.knobs.get("command", ""))

    @property
    def is_builtin(self) -> bool:
        return self.file is None and not self.command


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment, in the order in which they are to be done.

    ``builds`` are what the runs load.
    """

    seed: int
    specs: tuple[RunSpec, ...]
    builds: tuple[BuildRequest, ...] = ()

    @property
    def plan_id(self) -> str:
        """12 hexadecimal digits: the hash of the runs and their order."""
        return digest([s.run_id for s in self.specs])[:12]


@dataclass(frozen=True)
class BuiltObject:
    """One compiled scheduler.

    ``path`` is as the reader sees it; ``counters`` maps a counter's name to its byte
    offset in the map ``counters_map``, ``record`` a member's name to its offset in the
    values of ``tasks_map``. ``module`` is the file in the job's bin_dir that has to be
    in the kernel first, or empty. An empty ``ops_name`` or ``tasks_map`` is not known
    beforehand. ``loader`` names who puts it into the kernel; ``arguments`` are those of
    a ``path`` that is a program. With ``needs_census`` its counters do not tell whom it
    has evicted: the entries are looked through. ``settings`` are numbers to set in its
    read-only data.
    """

    path: Path
    sha256: str
    ops_name: str
    cleanup: str
    tasks_map: str
    counters_map: str
    counters: Mapping[str, int]
    record: Mapping[str, int]
    module: str = ""
    loader: str = "scx"
    needs_census: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class User:
    """Whom a process runs as, by number: a machine may have no name for them."""

    uid: int
    gid: int


#: Who owns nothing, on every Linux.
NOBODY = User(65534, 65534)


@dataclass(frozen=True)
class Job:
    """What the agent is handed: a spec and the artefacts that realise it.

    ``user`` is whom the workload runs as.
    """

    spec: RunSpec
    built: BuiltObject | None
    bin_dir: Path  # compiled workload helpers
    out_dir: Path
    user: User = NOBODY

    @property
    def loader(self) -> str:
        return NO_LOADER if self.built is None else self.built.loader


@dataclass(frozen=True)
class Sample:
    """One row of a run's CSV: seconds since the first sample, and named values."""

    timestamp_s: float
    values: Mapping[str, float]

    def row(self, columns: Sequence[str]) -> list[str]:
        cells = {"timestamp": f"{self.timestamp_s:.3f}"}
        cells |= {k: f"{v:.15g}" for k, v in self.values.items()}
        return [cells.get(column, "") for column in columns]


@dataclass(frozen=True)
class RunResult:
    """How one run ended, what it measured, and the evidence that it measured that.

    ``proof`` holds what the kernel said of the scheduler before and after the
    workload; ``facts`` holds what is known of the circumstances: the boot, times of
    the harness, counts of kernel records, how entries were counted.
    """

    spec: RunSpec
    run_id: str
    outcome: Outcome
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    proof: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Completed:
    """A finished process: its exit status (negative: killed by that signal)."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    wall_s: float


@dataclass(frozen=True)
class Round:
    """One process of a workload that ran to its end."""

    returncode: int
    output: str
    wall_s: float


@dataclass(frozen=True)
class Parameter:
    """A setting of a workload or a scheduler: its default, its bounds, its meaning."""

    default: Scalar
    low: float
    high: float
    summary: str


@dataclass(frozen=True)
class LoadedScheduler:
    """A scheduler as the kernel has it now.

    ``maps`` are the ids of its own maps, by their name in the kernel (15 characters at
    most); ``cgroup`` is the group its memory is charged to. ``facts`` are what its
    loader knows of it; why it ended is added when it is unloaded.
    """

    ops_name: str
    maps: Mapping[str, int]
    cgroup: Path | None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lane:
    """One of several places side by side: its number from 0, and the CPUs it alone has.

    Without CPUs it is the only one, and runs wherever the machine lets it.
    """

    number: int = 0
    cpus: tuple[int, ...] = ()


ALONE = Lane()


def digest(value: object) -> str:
    """Return the sha256 of a JSON-like value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
