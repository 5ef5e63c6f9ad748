# SPDX-License-Identifier: GPL-2.0-only
"""From an experiment's runs to tables.

An absent number stays absent (NaN); no number is ever made up in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import cache, encoded, record_tables
from analysis.load.cache import Cache
from analysis.load.encoded import Encoded, Kind, kind_of
from analysis.load.measures import KEYS
from analysis.load.records import (
    CURVE,
    PENDING,
    UNREADABLE,
    PlotData,
    RunMeta,
    RunRecord,
    SetAside,
)
from analysis.load.run_facts import Histogram
from analysis.stats.estimators import Array, Places
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
    "lost_attempts",
]
#: Of a curve, since its previous row; NaN in the first.
EVICTION_RATE = "evictions_per_s"
CURVE_COLUMNS = [*KEYS, *CURVE, EVICTION_RATE]


@dataclass(frozen=True)
class Data:
    """An experiment as tables.

    ``runs``: one row per planned run, in the plan's order (RUN_COLUMNS); `outcome` is
    an Outcome, PENDING, UNNEEDED or UNREADABLE, `used` whether the run is data,
    `drawn` whether figures show it.
    ``measured``: one row per used run, KEYS and NUMBERS, NaN where absent.
    ``metrics``: the workload metrics of the used runs (METRIC_COLUMNS).
    ``sampling``: what each sampler cost in each used run (SAMPLING_COLUMNS).
    ``lateness``, ``agent``: of the used runs that recorded it, how late samples began
    and the CPU time of the agent (LATENESS_COLUMNS, AGENT_COLUMNS).
    ``curves``: at most CURVE_POINTS rows of each drawn run (CURVE_COLUMNS).
    ``histograms``: of the drawn runs that recorded one, by run_id.
    """

    experiment: Experiment
    manifest: Manifest
    runs: pd.DataFrame
    measured: pd.DataFrame
    metrics: pd.DataFrame
    sampling: pd.DataFrame = field(default_factory=pd.DataFrame)
    lateness: pd.DataFrame = field(default_factory=pd.DataFrame)
    agent: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    set_aside: tuple[SetAside, ...] = ()


def load(experiment: Experiment) -> Data:
    """Return all of `experiment`; files are read of runs that are new or have changed.

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
    kinds = [kind_of(record.kind) for record in found]
    runs = _runs(manifest, specs, kinds, drawn, [r.is_data for r in found])
    blocks = list(encoded.blocks(found))
    drawables = kept.drawables(runs.loc[runs["drawn"], "run_id"])
    return Data(
        experiment=experiment,
        manifest=manifest,
        runs=runs,
        measured=record_tables.measured(runs, blocks),
        metrics=record_tables.metrics(runs, blocks),
        sampling=record_tables.sampling(runs, blocks),
        lateness=record_tables.numbers(
            runs, blocks, "lateness", record_tables.LATENESS_COLUMNS
        ),
        agent=record_tables.numbers(
            runs, blocks, "agent_cpu_s", record_tables.AGENT_COLUMNS
        ),
        curves=_curves(runs, drawables),
        histograms={
            run_id: shown.histogram
            for run_id, shown in drawables.items()
            if shown.histogram is not None
        },
        set_aside=(
            *_not_imported(manifest),
            *(aside for kind in kinds for aside in kind.aside),
        ),
    )


def is_imported(manifest: Manifest) -> bool:
    """Return whether the runs are another program's.

    Nothing proves then what was loaded.
    """
    return bool(manifest.facts.get("imported"))


def imported_facts(manifest: Manifest) -> Mapping[str, Any]:
    """Return what the import recorded; empty where the runs are our own."""
    found = manifest.facts.get("imported")
    return found if isinstance(found, Mapping) else {}


def _not_imported(manifest: Manifest) -> Iterator[SetAside]:
    """Yield files that were no data when the experiment was imported."""
    for refused in imported_facts(manifest).get("set_aside", ()):
        yield SetAside(str(refused["file"]), str(refused["reason"]))


def _drawn(done: Sequence[RunSpec]) -> set[str]:
    """Return the ids of the runs that figures show.

    They are those of DRAWN_BLOCKS blocks of a scheduler and workload.

    By the order of a hash, so that they stay the same, but one, when another block
    is done.
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
) -> list[Encoded]:
    """Return one for each spec.

    Those not in `kept` are made from the files, and put there.
    """
    known = kept.records(stamps)
    data = {run_id for run_id in drawn if run_id in known and known[run_id].is_data}
    for run_id in data - kept.drawable():
        del known[run_id]
    new = [s for s in specs if s.run_id in stamps and s.run_id not in known]
    made = encoded.read(experiment, new, drawn)
    for i, (spec, record) in enumerate(zip(new, made, strict=True), start=1):
        known[spec.run_id] = Encoded(record.kind, record.numbers)
        kept.put(spec.run_id, stamps[spec.run_id] if record.is_lasting else "", record)
        if i % _SAVED_AFTER == 0:
            kept.save()
    pending = encoded.encode(RunRecord(RunMeta(PENDING)))
    return [known.get(spec.run_id, pending) for spec in specs]


def _runs(
    manifest: Manifest,
    specs: Sequence[RunSpec],
    kinds: Sequence[Kind],
    drawn: Collection[str],
    used: Sequence[bool],
) -> pd.DataFrame:
    of_spec = RUN_COLUMNS[: RUN_COLUMNS.index("outcome")]
    cells: dict[str, list[object]] = {
        **{name: [getattr(spec, name) for spec in specs] for name in of_spec},
        "outcome": [kind.outcome for kind in kinds],
        "reason": [k.reason or "; ".join(a.reason for a in k.aside) for k in kinds],
        "used": list(used),
        "lost_attempts": [kind.lost_attempts for kind in kinds],
    }
    frame = pd.DataFrame(cells).astype({"used": bool, "lost_attempts": int})
    not_needed = manifest.facts.get(NOT_NEEDED)
    unneeded = frame["block"].isin(not_needed if isinstance(not_needed, list) else ())
    frame.loc[unneeded & (frame["outcome"] == PENDING), "outcome"] = UNNEEDED
    return frame.assign(drawn=frame["used"] & frame["run_id"].isin(drawn))


def _curves(runs: pd.DataFrame, drawables: Mapping[str, PlotData]) -> pd.DataFrame:
    drawn = runs[runs["drawn"]]
    if drawn.empty:
        numbers = dict.fromkeys((*CURVE, EVICTION_RATE), float)
        return pd.DataFrame(columns=CURVE_COLUMNS).astype(numbers)
    curves = [drawables[run_id].curve for run_id in drawn["run_id"]]
    lengths = [len(curve) for curve in curves]
    keys = drawn.loc[drawn.index.repeat(lengths), KEYS].reset_index(drop=True)
    frame = pd.DataFrame(np.concatenate(curves), columns=CURVE)
    rate = _rate(frame, np.cumsum([0, *lengths[:-1]]))
    return pd.concat([keys, frame.assign(**{EVICTION_RATE: rate})], axis=1)


def _rate(curves: pd.DataFrame, first: Places) -> Array:
    """Return evictions per second since the row before.

    NaN in the rows that are `first`.
    """
    passed_s, more = (
        np.diff(curves[name].to_numpy(), prepend=np.nan)
        for name in ("timestamp", "evictions")
    )
    passed_s[first] = np.nan
    return more / np.where(passed_s > 0, passed_s, np.nan)
