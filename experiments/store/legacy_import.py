# SPDX-License-Identifier: GPL-2.0-only
"""Results of the map clean-up automation that came before, as an experiment of ours.

    <scheduler>/<control|test>/<workload>_run<N>.csv     and     ..._run<N>_dmesg.log

Those programs wrote 0 where they could not read a number, appended to files that were
there, and were stopped at any moment; nothing but the kernel log recorded which
scheduler was loaded. So what is imported is marked as not proved, a column that is 0
throughout is taken as not read, and a file that is not what its name says, or has a
name that says nothing, is named and left where it is.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from experiments.columns import REQUIRED
from experiments.errors import ConfigError, FormatError
from experiments.model import (
    CONTROL,
    NO_CLEANUP,
    TEST,
    Outcome,
    Plan,
    RunResult,
    RunSpec,
)
from experiments.store.experiment import Experiment

COLUMNS = REQUIRED
#: What those programs wrote as 0 when it could not be read. In control runs `evictions`
#: is 0 throughout when all is well, so there it is not among them.
_ZERO_WHEN_UNREAD = {
    CONTROL: ("map_entries", "free_mem_kb", "slab_bpf_kb"),
    TEST: ("map_entries", "free_mem_kb", "slab_bpf_kb", "evictions"),
}
#: The clean-up of a test variant is not written down anywhere.
UNKNOWN_CLEANUP = "unknown"

_FILE = re.compile(r"(?P<workload>.+)_run(?P<run>\d+)\.csv")
_STATE = re.compile(
    r'sched_ext: BPF scheduler "[^"]*" '
    r"(?:(?P<enabled>enabled)|disabled(?: \((?P<why>.*)\))?)"
)
_UNREGISTERED = "unregistered from user space"
_EVICTED = re.compile(r"Map cleanup: (?:timeout after )?evicted (\d+)\b")

_Row = list[float]


class Found(NamedTuple):
    """A CSV file of the tree, and what its place says of it."""

    path: Path
    scheduler: str
    variant: str
    workload: str
    run: int


@dataclass(frozen=True)
class Refused:
    """A file that is not data, relative to the tree, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class Recording:
    """Sound rows of COLUMNS, and what had to be left out to have them."""

    rows: Sequence[_Row]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    experiment: Experiment
    runs: int
    flagged: int
    refused: tuple[Refused, ...]


def import_tree(source: Path, path: Path) -> Imported:
    """Make the experiment `path` of the tree `source`, which stays as it is.

    Raises ConfigError when there is no such tree, or `path` holds something else.
    """
    recordings: dict[Found, Recording] = {}
    refused = list(_unnamed(source))
    for found in _find(source):
        try:
            if any(_place(f) == _place(found) for f in recordings):
                raise FormatError("another file is this run of that arm already")
            recordings[found] = read(found.path.read_bytes())
        except (FormatError, OSError) as error:
            refused.append(Refused(str(found.path.relative_to(source)), str(error)))
    if not recordings:
        raise ConfigError(_nothing(source, refused))
    specs = _specs(recordings)
    imported = {
        "source": str(source),
        "set_aside": [asdict(r) for r in refused],
        "no_information": _no_information(recordings),
        "kernel_logs": _kernel_logs(list(recordings), source),
    }
    experiment = Experiment.create(
        path, Plan(0, tuple(specs.values())), {}, {"imported": imported}
    )
    pending = {spec.run_id for spec in experiment.pending(list(specs.values()))}
    for found, spec in specs.items():
        if spec.run_id in pending:
            _write(experiment, spec, found, recordings[found], source)
    experiment.record_all()
    flagged = sum(bool(r.facts.get("flags")) for r in experiment.results())
    return Imported(experiment, len(specs), flagged, tuple(refused))


def _nothing(source: Path, refused: Sequence[Refused]) -> str:
    if refused:
        return f"{source}: no file is sound; {refused[0].file}: {refused[0].reason}"
    return (
        f"{source} has no <scheduler>/<control|test>/<workload>_run<N>.csv: "
        "give the directory which holds those of the schedulers"
    )


def _find(source: Path) -> Iterator[Found]:
    for path in sorted(source.glob("*/*/*.csv")):
        name = _FILE.fullmatch(path.name)
        scheduler, variant = path.parts[-3:-1]
        if name and variant in (CONTROL, TEST):
            run = int(name["run"][:9])
            yield Found(path, scheduler, variant, name["workload"], run)


def _place(found: Found) -> tuple[object, ...]:
    """Return what a file is of, however its name spells it."""
    return found[1:]


def _unnamed(source: Path) -> Iterator[Refused]:
    """Yield CSV files beside those of runs whose names do not say what they are."""
    for path in sorted(source.glob("*/*/*.csv")):
        if path.parent.name in (CONTROL, TEST) and not _FILE.fullmatch(path.name):
            name = str(path.relative_to(source))
            yield Refused(name, "its name is not <workload>_run<N>.csv")


def _no_information(recordings: Mapping[Found, Recording]) -> list[dict[str, Any]]:
    """Return the columns of each arm that are 0 in every run of it."""
    arms: dict[tuple[str, str, str], list[set[str]]] = {}
    for found, recording in recordings.items():
        arm = found.scheduler, found.workload, found.variant
        arms.setdefault(arm, []).append(set(_unread(recording.rows, found.variant)))
    return [
        {"scheduler": s, "workload": w, "variant": v, "columns": sorted(columns)}
        for (s, w, v), unread in sorted(arms.items())
        if (columns := set.intersection(*unread))
    ]


def _kernel_logs(found: Sequence[Found], source: Path) -> dict[str, Any]:
    """Return what the kernel logs record of schedulers, as counts of logs."""
    logs = [(f, log) for f in found if (log := _log(f)) is not None]
    enabled = unregistered = 0
    ejected = []
    for f, log in logs:
        states = list(_STATE.finditer(log.decode("utf-8", "replace")))
        enabled += any(s["enabled"] for s in states)
        whys = [s["why"] or "" for s in states if not s["enabled"]]
        unregistered += _UNREGISTERED in whys
        ejected += [
            f"{f.path.relative_to(source)}: {why or 'no reason'}"
            for why in whys
            if why != _UNREGISTERED
        ]
    return {
        "logs": len(logs),
        "enabled": enabled,
        "unregistered": unregistered,
        "ejected": ejected,
    }


def _specs(recordings: Mapping[Found, Recording]) -> dict[Found, RunSpec]:
    """Return the specs: runs of the same cell and number are a block."""
    cells = sorted({(f.scheduler, f.workload, f.run) for f in recordings})
    blocks = {cell: block for block, cell in enumerate(cells, start=1)}
    # How long a run was to last nobody wrote down: as long as the longest of its cell
    longest: dict[tuple[str, str], int] = {}
    for found, recording in recordings.items():
        took = max(1, round(recording.rows[-1][0] - recording.rows[0][0]))
        cell = found.scheduler, found.workload
        longest[cell] = max(longest.get(cell, 1), took)
    return {
        found: RunSpec(
            scheduler=found.scheduler,
            variant=found.variant,
            cleanup=NO_CLEANUP if found.variant == CONTROL else UNKNOWN_CLEANUP,
            workload=found.workload,
            run=found.run,
            block=blocks[found.scheduler, found.workload, found.run],
            seed=0,
            duration_s=longest[found.scheduler, found.workload],
            sample_interval_s=_interval_s(recording.rows),
            workload_params={},
            knobs={},
            samplers=(),
        )
        for found, recording in recordings.items()
    }


def _interval_s(rows: Sequence[_Row]) -> float:
    return statistics.median(b[0] - a[0] for a, b in pairwise(rows))


# --- one file -------------------------------------------------------------------------


def read(data: bytes) -> Recording:
    """Return the rows of a CSV of those programs.

    Raises FormatError saying what is wrong.

    A last line that was cut is left out, and so are headers that come again while
    the clock goes on; both are flagged. Where the clock begins again there are two
    recordings in one file, and which is the run is not known.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise FormatError("the file is not text") from None
    if not text.strip():
        raise FormatError("the file is empty")
    head, *lines = text.replace("\r\n", "\n").split("\n")
    header = ",".join(COLUMNS)
    if head != header:
        raise FormatError(f"the first line is not the header: {head[:80]!r}")
    flags = [f"the last line was cut: {lines[-1]!r}"] if lines and lines[-1] else []
    body = [(i, line) for i, line in enumerate(lines[:-1], start=2) if line != header]
    if again := len(lines[:-1]) - len(body):
        flags.append(f"the header came again, {again} times")
    rows = [_row(line, number) for number, line in body]
    _check(rows)
    return Recording(rows, tuple(flags))


def _row(line: str, number: int) -> _Row:
    cells = line.split(",")
    if len(cells) != len(COLUMNS):
        raise FormatError(f"line {number} has {len(cells)} cells, not {len(COLUMNS)}")
    if not all(re.fullmatch(r"\d+(\.\d+)?", cell) for cell in cells):
        raise FormatError(f"line {number} has a cell that is no number: {line[:80]!r}")
    values = [float(cell) for cell in cells]
    if not all(map(math.isfinite, values)):
        raise FormatError(f"line {number} has a number without end")
    return values


def _check(rows: Sequence[_Row]) -> None:
    if len(rows) < 2:
        raise FormatError(f"there are {len(rows)} samples, which is no run")
    if any(b[0] < a[0] for a, b in pairwise(rows)):
        raise FormatError("the clock begins again: two recordings in one file")
    if rows[0][0] == rows[-1][0]:
        raise FormatError("all samples are of the same second")


# --- one run --------------------------------------------------------------------------


def _write(
    experiment: Experiment,
    spec: RunSpec,
    found: Found,
    recording: Recording,
    source: Path,
) -> None:
    attempt = experiment.new_attempt(spec)
    unread = _unread(recording.rows, found.variant)
    (attempt / "samples.csv").write_text(_csv(recording.rows, unread))
    log = _log(found)
    if log is not None:
        (attempt / "dmesg.log").write_bytes(log)
    flags = [*recording.flags, *(f"{c} is 0 throughout: not read" for c in unread)]
    flags += _disagreement(recording.rows, log)
    facts = {"imported": str(found.path.relative_to(source)), "proved": False}
    result = RunResult(
        spec,
        spec.run_id,
        Outcome.OK,
        facts={**facts, **({"flags": flags} if flags else {})},
    )
    experiment.finish(result, attempt)


def _unread(rows: Sequence[_Row], variant: str) -> list[str]:
    return [
        name
        for name in _ZERO_WHEN_UNREAD[variant]
        if not any(row[COLUMNS.index(name)] for row in rows)
    ]


def _csv(rows: Sequence[_Row], unread: Sequence[str]) -> str:
    lines = [",".join(COLUMNS)]
    began_s = rows[0][0]
    for time_s, *values in rows:
        cells = [
            "" if name in unread else f"{value:.15g}"
            for name, value in zip(COLUMNS[1:], values, strict=True)
        ]
        lines.append(",".join([f"{time_s - began_s:.3f}", *cells]))
    return "\n".join(lines) + "\n"


def _log(found: Found) -> bytes | None:
    path = found.path.with_name(f"{found.path.stem}_dmesg.log")
    return path.read_bytes() if path.is_file() else None


def evicted_entries(log: bytes) -> int | None:
    """Return entries that the messages of the clean-up add up to.

    None without a message.
    """
    counts = [int(n) for n in _EVICTED.findall(log.decode("utf-8", "replace"))]
    return sum(counts) if counts else None


def _disagreement(rows: Sequence[_Row], log: bytes | None) -> list[str]:
    """Return what the CSV's count lacks: it knows only some messages."""
    logged = None if log is None else evicted_entries(log)
    in_csv = rows[-1][COLUMNS.index("evictions")]
    if logged is None or logged == in_csv:
        return []
    return [f"evictions disagree: {in_csv:g} in the CSV, {logged} in the kernel log"]
