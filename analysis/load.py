# SPDX-License-Identifier: GPL-2.0-only
"""From an experiment's files to tables; what is corrupt is named and set aside.

Only OK runs whose CSV file is sound are data. An absent cell stays absent (NaN); no
number is ever made up in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd

from analysis import run_facts
from analysis.run_facts import RunFacts
from analysis.samples import check_span, read_samples
from experiments.errors import FormatError
from experiments.model import CSV_COLUMNS, Outcome, RunResult, RunSpec
from experiments.results import Experiment, Manifest

PENDING = "PENDING"
UNREADABLE = "UNREADABLE"

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
SAMPLE_COLUMNS = ["scheduler", "variant", "workload", "run", "block", *CSV_COLUMNS]
METRIC_COLUMNS = [
    "scheduler",
    "variant",
    "workload",
    "run",
    "block",
    "name",
    "value",
    "unit",
    "lower_is_better",
]


@dataclass(frozen=True)
class SetAside:
    """A file that is not data, relative to the experiment, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class Data:
    """An experiment as tables.

    ``runs``: one row per planned run, in the plan's order (RUN_COLUMNS); `outcome` is
    an Outcome, PENDING or UNREADABLE, `used` whether the run is data.
    ``samples``: the CSV rows of the used runs (SAMPLE_COLUMNS), NaN where absent.
    ``metrics``: the workload metrics of the used runs (METRIC_COLUMNS).
    ``facts``: what the JSON of each used run says beside them, by run_id.
    """

    experiment: Experiment
    manifest: Manifest
    runs: pd.DataFrame
    samples: pd.DataFrame
    metrics: pd.DataFrame
    facts: Mapping[str, RunFacts]
    set_aside: tuple[SetAside, ...]


@dataclass(frozen=True)
class _Loaded:
    spec: RunSpec
    outcome: str
    reason: str = ""
    samples: pd.DataFrame | None = None
    facts: RunFacts = field(default_factory=RunFacts)
    result: RunResult | None = None
    aside: tuple[SetAside, ...] = ()


def load(experiment: Experiment) -> Data:
    """Read all of `experiment`.

    Raises FormatError when the manifest itself cannot be read; whatever is wrong with
    a single run's files goes to `Data.set_aside` instead.
    """
    manifest = experiment.manifest()
    loaded = [_load_run(experiment, spec) for spec in manifest.specs]
    frames = [_keyed(r.spec, r.samples) for r in loaded if r.samples is not None]
    samples = pd.concat(frames, ignore_index=True) if frames else _no_samples()
    used = [r for r in loaded if r.samples is not None]
    return Data(
        experiment=experiment,
        manifest=manifest,
        runs=_runs(loaded),
        samples=samples,
        metrics=_metrics(used),
        facts={r.spec.run_id: r.facts for r in used},
        set_aside=tuple(aside for r in loaded for aside in r.aside),
    )


def _load_run(experiment: Experiment, spec: RunSpec) -> _Loaded:
    files = experiment.files(spec)
    try:
        result = experiment.result(spec)
        if result is not None and result.run_id != spec.run_id:
            raise FormatError(f"belongs to another run ({result.run_id})")
    except (FormatError, OSError) as error:
        where = _relative(experiment, str(files.json))
        reason = str(error).removeprefix(f"{files.json}: ")
        return _Loaded(spec, UNREADABLE, reason, aside=(SetAside(where, reason),))
    if result is None:
        return _Loaded(spec, PENDING)
    if result.outcome is not Outcome.OK:
        return _Loaded(spec, result.outcome.value, result.reason, result=result)
    return _load_csv(experiment, spec, result)


def _load_csv(experiment: Experiment, spec: RunSpec, result: RunResult) -> _Loaded:
    path = experiment.files(spec).csv
    try:
        frame = read_samples(path.read_bytes().decode("utf-8"))
        check_span(frame, spec)
    except FileNotFoundError:
        reason = "the file is missing"
    except (FormatError, UnicodeDecodeError, OSError) as error:
        reason = str(error)
    else:
        return _sound(experiment, result, frame)
    aside = SetAside(_relative(experiment, str(path)), reason)
    outcome = result.outcome.value
    return _Loaded(spec, outcome, result.reason, result=result, aside=(aside,))


def _sound(experiment: Experiment, result: RunResult, frame: pd.DataFrame) -> _Loaded:
    facts, wrong = run_facts.read(result.facts)
    where = _relative(experiment, str(experiment.files(result.spec).json))
    return _Loaded(
        spec=result.spec,
        outcome=result.outcome.value,
        reason=_flags(result),
        samples=frame,
        facts=facts,
        result=result,
        aside=tuple(SetAside(f"{where}: {k}", why) for k, why in wrong.items()),
    )


def _flags(result: RunResult) -> str:
    """What an OK run has to say for itself: checks of its own that failed."""
    flags = result.facts.get("flags", ())
    return "; ".join(f"flagged: {flag}" for flag in flags)


def _relative(experiment: Experiment, path: str) -> str:
    return path.removeprefix(str(experiment.path)).lstrip("/")


def _runs(loaded: list[_Loaded]) -> pd.DataFrame:
    frame = pd.DataFrame([_run_row(r) for r in loaded], columns=RUN_COLUMNS)
    return frame.astype({"used": bool, "max_entries": float})


def _run_row(run: _Loaded) -> dict[str, object]:
    limit = run.spec.knobs.get("max_entries")
    row = asdict(run.spec)
    return {
        **{k: v for k, v in row.items() if k in RUN_COLUMNS},
        "run_id": run.spec.run_id,
        "outcome": run.outcome,
        "reason": run.reason or "; ".join(a.reason for a in run.aside),
        "used": run.samples is not None,
        "max_entries": float(limit) if isinstance(limit, int | float) else np.nan,
    }


def _keyed(spec: RunSpec, frame: pd.DataFrame) -> pd.DataFrame:
    keys = {k: getattr(spec, k) for k in SAMPLE_COLUMNS if k not in CSV_COLUMNS}
    return frame.assign(**keys)[SAMPLE_COLUMNS]


def _no_samples() -> pd.DataFrame:
    return pd.DataFrame(columns=SAMPLE_COLUMNS).astype(
        dict.fromkeys(CSV_COLUMNS, float)
    )


def _metrics(loaded: list[_Loaded]) -> pd.DataFrame:
    keys = METRIC_COLUMNS[:5]
    rows = [
        {**{k: getattr(run.spec, k) for k in keys}, **asdict(metric)}
        for run in loaded
        for metric in (run.result.metrics if run.result else ())
    ]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)
