# SPDX-License-Identifier: GPL-2.0-only
"""From an experiment's runs to tables.

An absent number stays absent (NaN); no number is ever made up in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.load import cache, records
from analysis.load.cache import Cache
from analysis.load.measures import KEYS
from analysis.load.records import (
    CURVE,
    NUMBERS,
    PENDING,
    UNREADABLE,
    Drawable,
    Record,
    Said,
    SetAside,
    max_entries,
)
from analysis.load.run_facts import Histogram, RunFacts
from experiments.model import RunSpec
from experiments.store.experiment import Experiment
from experiments.store.schema import NOT_NEEDED, Manifest

__all__ = ["PENDING", "UNNEEDED", "UNREADABLE", "Data", "SetAside", "load"]

#: Of runs that nobody will do: what they were for was decided before.
UNNEEDED = "NOT NEEDED"

#: Of a scheduler and workload with more blocks than this, figures show so many.
DRAWN_BLOCKS = 50
#: After so many new records they are saved, so that an interrupt costs no more.
_SAVED_AFTER = 1024

RUN_COLUMNS = [
    "scheduler",
    "variant",
    "cleanup",
    "workload",
    "run",
    "block",
    "run_id",
    "outcome",
    "reason",
    "used",
    "max_entries",
]
#: Of a curve, since its previous row; NaN in the first.
EVICTION_RATE = "evictions_per_s"
CURVE_COLUMNS = [*KEYS, *CURVE, EVICTION_RATE]
METRIC_COLUMNS = [*KEYS, "name", "value", "unit", "lower_is_better"]


@dataclass(frozen=True)
class Data:
    """An experiment as tables.

    ``runs``: one row per planned run, in the plan's order (RUN_COLUMNS); `outcome` is
    an Outcome, PENDING, UNNEEDED or UNREADABLE, `used` whether the run is data,
    `drawn` whether figures show it.
    ``measured``: one row per used run, KEYS and NUMBERS, NaN where absent.
    ``metrics``: the workload metrics of the used runs (METRIC_COLUMNS).
    ``facts``: what the JSON of each used run says beside them, by run_id.
    ``curves``: at most CURVE_POINTS rows of each drawn run (CURVE_COLUMNS).
    ``histograms``: of the drawn runs that recorded one, by run_id.
    """

    experiment: Experiment
    manifest: Manifest
    runs: pd.DataFrame
    measured: pd.DataFrame
    metrics: pd.DataFrame
    facts: Mapping[str, RunFacts]
    curves: pd.DataFrame
    histograms: Mapping[str, Histogram]
    set_aside: tuple[SetAside, ...]


def load(experiment: Experiment) -> Data:
    """All of `experiment`; files are read of runs that are new or have changed.

    Raises FormatError when the manifest itself cannot be read; whatever is wrong with
    a single run's files goes to `Data.set_aside` instead.
    """
    return cache.use(experiment.path, lambda kept: _load(experiment, kept))


def _load(experiment: Experiment, kept: Cache) -> Data:
    manifest = experiment.manifest()
    specs = manifest.specs
    stamps = {s.run_id: at for s in specs if (at := experiment.stamp(s)) is not None}
    drawn = _drawn([spec for spec in specs if spec.run_id in stamps])
    found = _records(experiment, specs, stamps, drawn, kept)
    runs = _runs(manifest, specs, found, drawn)
    used = [(s, r) for s, r in zip(specs, found, strict=True) if r.numbers is not None]
    drawables = kept.drawables(runs.loc[runs["drawn"], "run_id"])
    return Data(
        experiment=experiment,
        manifest=manifest,
        runs=runs,
        measured=_measured(used),
        metrics=_metrics((s, r.said) for s, r in used),
        facts={spec.run_id: record.said.facts for spec, record in used},
        curves=_curves(runs, drawables),
        histograms={
            run_id: shown.histogram
            for run_id, shown in drawables.items()
            if shown.histogram is not None
        },
        set_aside=(
            *_not_imported(manifest),
            *(aside for r in found for aside in r.said.aside),
        ),
    )


def is_imported(manifest: Manifest) -> bool:
    """Whether the runs are another program's, and nothing proves what was loaded."""
    return bool(manifest.facts.get("imported"))


def _not_imported(manifest: Manifest) -> Iterator[SetAside]:
    """Files that were no data when the experiment was imported."""
    imported = manifest.facts.get("imported") or {}
    for refused in imported.get("set_aside", ()):
        yield SetAside(str(refused["file"]), str(refused["reason"]))


def _drawn(done: Sequence[RunSpec]) -> set[str]:
    """The ids of the runs that figures show: DRAWN_BLOCKS of a scheduler and workload.

    By the order of a hash, so that they stay the same, but one, when another block is
    done.
    """
    blocks: dict[tuple[str, str], set[int]] = {}
    for spec in done:
        blocks.setdefault((spec.scheduler, spec.workload), set()).add(spec.block)
    shown = {
        b for those in blocks.values() for b in sorted(those, key=_rank)[:DRAWN_BLOCKS]
    }
    return {spec.run_id for spec in done if spec.block in shown}


def _rank(block: int) -> bytes:
    return hashlib.sha256(str(block).encode()).digest()


def _records(
    experiment: Experiment,
    specs: Sequence[RunSpec],
    stamps: Mapping[str, str],
    drawn: Collection[str],
    kept: Cache,
) -> list[Record]:
    """One for each spec; those not in `kept` are made from the files, and put there."""
    known = kept.records(stamps)
    data = {run_id for run_id in drawn if _is_data(known.get(run_id))}
    for run_id in data - kept.drawable():
        del known[run_id]
    new = [s for s in specs if s.run_id in stamps and s.run_id not in known]
    made = records.read(experiment, new, drawn)
    for i, (spec, record) in enumerate(zip(new, made, strict=True), start=1):
        known[spec.run_id] = Record(record.said, record.numbers)
        kept.put(spec.run_id, stamps[spec.run_id] if record.is_lasting else "", record)
        if i % _SAVED_AFTER == 0:
            kept.save()
    pending = Record(Said(PENDING))
    return [known.get(spec.run_id, pending) for spec in specs]


def _is_data(record: Record | None) -> bool:
    return record is not None and record.numbers is not None


def _runs(
    manifest: Manifest,
    specs: Sequence[RunSpec],
    found: Sequence[Record],
    drawn: Collection[str],
) -> pd.DataFrame:
    rows = [_run_row(s, r) for s, r in zip(specs, found, strict=True)]
    frame = pd.DataFrame(rows, columns=RUN_COLUMNS)
    frame = frame.astype({"used": bool, "max_entries": float})
    unneeded = frame["block"].isin(manifest.facts.get(NOT_NEEDED, ()))
    frame.loc[unneeded & (frame["outcome"] == PENDING), "outcome"] = UNNEEDED
    return frame.assign(drawn=frame["used"] & frame["run_id"].isin(drawn))


def _run_row(spec: RunSpec, record: Record) -> dict[str, object]:
    said = record.said
    return {
        **{k: getattr(spec, k) for k in RUN_COLUMNS[: RUN_COLUMNS.index("outcome")]},
        "outcome": said.outcome,
        "reason": said.reason or "; ".join(a.reason for a in said.aside),
        "used": record.numbers is not None,
        "max_entries": max_entries(spec),
    }


def _measured(used: Sequence[tuple[RunSpec, Record]]) -> pd.DataFrame:
    keys = pd.DataFrame([_keys(spec) for spec, _ in used], columns=KEYS)
    values = np.array([r.numbers for _, r in used], float).reshape(-1, len(NUMBERS))
    numbers = pd.DataFrame(values, keys.index, NUMBERS)
    return pd.concat([keys, numbers], axis=1)


def _keys(spec: RunSpec) -> dict[str, object]:
    return {k: getattr(spec, k) for k in KEYS}


def _metrics(used: Iterable[tuple[RunSpec, Said]]) -> pd.DataFrame:
    rows = [
        {**_keys(spec), **vars(metric)}
        for spec, said in used
        for metric in said.metrics
    ]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def _curves(runs: pd.DataFrame, drawables: Mapping[str, Drawable]) -> pd.DataFrame:
    frames = list(_frames(runs[runs["drawn"]], drawables))
    if not frames:
        numbers = dict.fromkeys((*CURVE, EVICTION_RATE), float)
        return pd.DataFrame(columns=CURVE_COLUMNS).astype(numbers)
    return pd.concat(frames, ignore_index=True)


def _frames(
    drawn: pd.DataFrame, drawables: Mapping[str, Drawable]
) -> Iterator[pd.DataFrame]:
    for row in drawn.to_dict("records"):
        curve = pd.DataFrame(drawables[row["run_id"]].curve, columns=CURVE)
        passed_s = curve["timestamp"].diff()
        rate = curve["evictions"].diff() / passed_s.where(passed_s > 0)
        keys = {k: row[k] for k in KEYS}
        yield curve.assign(**keys, **{EVICTION_RATE: rate})[CURVE_COLUMNS]
