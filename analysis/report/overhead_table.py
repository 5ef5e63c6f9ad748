# SPDX-License-Identifier: GPL-2.0-only
"""What measuring costs: as the runs recorded it, and as the ledger has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare.effect import BETTER, NEUTRAL, UNCLEAR, WORSE
from analysis.compare.overhead import Ledger, rank
from analysis.load.frames import Data
from analysis.load.measures import TIMES, number, plural
from analysis.stats.estimators import largest


@dataclass(frozen=True)
class SamplerRow:
    """One sampler over all runs: medians of their medians, and the slowest sample."""

    sampler: str
    n_runs: int
    cpu_us: float
    wall_us: float
    wall_us_max: float


@dataclass(frozen=True)
class LedgerRow:
    """One metric of one workload: per sampler change, interval, and how it looks."""

    where: str
    metric: str
    cells: list[tuple[str, str, str]]


@dataclass(frozen=True)
class LedgerView:
    """A ledger as a page shows it: a row per metric, a column per sampler."""

    ledger: Ledger
    samplers: list[str]
    rows: list[LedgerRow]
    summary: str


@dataclass(frozen=True)
class Measuring:
    """``lateness`` and ``agent`` are sentences, empty when no run recorded that."""

    samplers: list[SamplerRow]
    lateness: str
    agent: str
    ledger: LedgerView | None


def measuring(data: Data, ledger: Ledger | None) -> Measuring:
    return Measuring(
        samplers=list(_samplers(data)),
        lateness=_lateness(data),
        agent=_agent(data),
        ledger=None if ledger is None else view(ledger),
    )


def _samplers(data: Data) -> Iterator[SamplerRow]:
    for name, cost in data.sampling.groupby("sampler", sort=True):
        yield SamplerRow(
            sampler=str(name),
            n_runs=len(cost),
            cpu_us=float(cost["cpu_us"].median()),
            wall_us=float(cost["wall_us"].median()),
            wall_us_max=float(cost["wall_us_max"].max()),
        )


def _lateness(data: Data) -> str:
    """Return how late samples began: medians over the runs, and the latest of all."""
    late = data.lateness
    if late.empty:
        return ""
    middle = [float(np.median(late[q].to_numpy(float))) for q in ("p50", "p99")]
    latest = float(late["max"].max())
    p50, p99, top = (number(v) for v in (*middle, latest))
    return (
        f"A sample began {p50} us after its deadline (p50), {p99} us at p99, both "
        f"medians of {plural(len(late), 'run')}; the latest of all {top} us."
    )


def _agent(data: Data) -> str:
    """Return the share of one CPU that the measuring process used."""
    duration_s = {s.run_id: s.duration_s for s in data.manifest.specs}
    shares = np.array(
        [
            100 * used_s / duration_s[run_id]
            for run_id, used_s in data.agent.itertuples(index=False)
        ]
    )
    if not len(shares):
        return ""
    used, most = (number(f(shares), 2) for f in (np.median, largest))
    over = plural(len(shares), "run")
    return (
        f"The measuring process used {used} % of one CPU (median of {over}; "
        f"at most {most} %)."
    )


def view(ledger: Ledger) -> LedgerView:
    """Return `ledger` with a row per metric; what was not measured is an empty cell."""
    table = ledger.table
    samplers = sorted(table["sampler"].unique(), key=lambda s: (rank(s), s))
    keys = ["scheduler", "workload", "metric", "unit"]
    rows = []
    for (scheduler, workload, metric, unit), of in table.groupby(keys, sort=False):
        by_sampler = {row["sampler"]: row for row in of.to_dict("records")}
        rows.append(
            LedgerRow(
                where=f"{scheduler} {TIMES} {workload}",
                metric=f"{metric} ({unit})" if unit else str(metric),
                cells=[
                    (*ledger.cell(row), _look(str(row["direction"])))
                    if (row := by_sampler.get(s))
                    else ("", "", "")
                    for s in samplers
                ],
            )
        )
    rows.sort(key=lambda row: row.where)
    return LedgerView(ledger, samplers, rows, _summary(table))


def _look(direction: str) -> str:
    return {BETTER: "holds", WORSE: "fails", UNCLEAR: ""}.get(direction, "open")


def _summary(table: pd.DataFrame) -> str:
    told = table.dropna(subset=["low"])
    clear = int(told["direction"].isin([BETTER, WORSE, NEUTRAL]).sum())
    blocks = table["n_blocks"]
    span = f"{blocks.min()} to {blocks.max()}" if len(table) else "no"
    if len(table) and blocks.min() == blocks.max():
        span = str(blocks.max())
    return (
        f"Over {span} blocks, {clear} of {plural(len(told), 'effect')} are there after "
        "correction for their number (Holm, for each sampler and workload)."
    )
