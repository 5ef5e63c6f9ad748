# SPDX-License-Identifier: GPL-2.0-only
"""One report.html that needs nothing else: no network, no script, no other file.

Text from the kernel log and from results is hostile as far as this is concerned: the
template escapes everything, and only our own figures go in as markup.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis.compare.effect import BETTER, EQUIVALENT, WORSE, Group
from analysis.compare.within_experiment import Comparison, workload_effects
from analysis.load.flat_facts import flat
from analysis.load.frames import Data
from analysis.load.measures import MEASURES, Measure, column, number
from analysis.report import runs_table
from analysis.report.overhead_table import measuring
from analysis.report.sketch import INK, PAPER, Drawn
from analysis.report.tables import worst_first
from analysis.verdicts.answer import Answer
from analysis.verdicts.criteria import Verdict
from analysis.verdicts.findings import Findings
from analysis.verdicts.status import HOLDS
from experiments.model import RunSpec

#: What of a log is shown: its first and last lines, and so much of each line.
LOG_HEAD, LOG_TAIL, LOG_WIDTH = 40, 160, 300

#: More runs than this make a page that no browser likes; runs.csv has all of them.
MOST_RUNS = 500

_PER_FORK = "growth_entries_per_fork"

_CONTROL_CHARACTERS = re.compile(r"[^\t\x20-\x7e\x85\xa0-\ud7ff\ue000-\U0010ffff]")


@dataclass(frozen=True)
class Log:
    """A kernel log cut to what a page can carry."""

    head: str
    tail: str
    left_out: int
    lines: int


@dataclass(frozen=True)
class Run:
    """A planned run as the report lists it."""

    label: str
    block: int
    outcome: str
    used: bool
    reason: str
    log: Log | None
    dump: Log | None  # of the scheduler, by the kernel that threw it out


@dataclass(frozen=True)
class ClaimCounts:
    """What is concluded about one test variant: its answer, verdicts, and costs."""

    group: Group
    anchor: str
    answer: Answer
    verdicts: list[Verdict]
    costs: list[Comparison]


@dataclass(frozen=True)
class Section:
    """The figures of one scheduler x workload."""

    scheduler: str
    workload: str
    figures: list[Markup]


def render(found: Findings, drawn: Sequence[Drawn]) -> str:
    """Return the page as text."""
    data, measures = found.data, _measures(found)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    listed = _listed(data)
    runs = list(_runs(data, listed))
    return environment.get_template("report.html.j2").render(
        manifest=data.manifest,
        tally=_tally(found.verdicts),
        outcomes=sorted(Counter(map(str, data.runs["outcome"])).items()),
        n_planned=len(data.runs),
        n_used=int(data.runs["used"].sum()),
        n_not_listed=len(data.runs) - len(listed),
        claims=list(_claims(found)),
        memory=found.memory,
        measuring=measuring(found.data, found.ledger),
        is_ledger=found.is_ledger,
        is_aa=found.is_aa,
        noise=found.noise,
        noise_rows=_noise_rows(found),
        sections=list(_sections(drawn)),
        comparisons=found.comparisons,
        summary_head=[(m.label, m.unit) for m in measures] + _workload_metrics(data),
        summary_rows=list(_summary_rows(data, found.summary, measures)),
        run_head=runs_table.HEADING,
        run_rows=list(runs_table.rows(data, found.runs.head(MOST_RUNS))),
        facts=_in_words(data.manifest.facts),
        config=json.dumps(data.manifest.config, indent=1, default=str),
        boots=[json.dumps(b, default=str) for b in data.manifest.boots],
        runs=runs,
        set_aside=data.set_aside,
        good={BETTER: "holds", EQUIVALENT: "holds", WORSE: "fails"},
    )


def _noise_rows(found: Findings) -> list[dict[str, Any]]:
    """Return what the machine's noise lets the metrics compared here show."""
    if found.noise is None:
        return []
    shown = {(c.workload, c.metric) for c in workload_effects(found.comparisons)}
    return [
        {**{str(k): v for k, v in row.items()}, "label": f"{row['metric']}"}
        for row in found.noise.table.to_dict("records")
        if (row["workload"], row["metric"]) in shown
    ]


def _tally(verdicts: Sequence[Verdict]) -> list[tuple[str, int]]:
    counted = Counter(v.status for v in verdicts)
    return [
        (status, counted[status]) for status in (HOLDS, *sorted(set(counted) - {HOLDS}))
    ]


def _claims(found: Findings) -> Iterator[ClaimCounts]:
    for i, answer in enumerate(found.answers):
        group = answer.group
        yield ClaimCounts(
            group=group,
            anchor=f"claims-{i}",
            answer=answer,
            verdicts=[v for v in found.verdicts if v.group == group],
            costs=[c for c in worst_first(found.comparisons) if c.group == group],
        )


def _sections(drawn: Sequence[Drawn]) -> Iterator[Section]:
    def key(figure: Drawn) -> tuple[str, str]:
        return figure.scheduler, figure.workload

    for i, (where, figures) in enumerate(groupby(drawn, key)):
        svgs = [inline(d, f"s{i}-{k}") for k, d in enumerate(figures)]
        yield Section(*where, svgs)


def inline(figure: Drawn, prefix: str) -> Markup:
    """Return the figure as part of the page: with its ink, and ids of its own."""
    svg = figure.svg.decode()
    svg = svg[svg.index("<svg") :]
    svg = svg.replace(PAPER, "none").replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    label = Markup('<svg role="img" aria-label="{}"').format(figure.finding)
    return label + Markup(svg.removeprefix("<svg"))


def _measures(found: Findings) -> list[Measure]:
    """Return those that any run has.

    Growth per fork is that per exited task, or near it.
    """
    there = found.summary.notna().any()
    return [m for m in MEASURES if there[m.name] and m.name != _PER_FORK]


def _workload_metrics(data: Data) -> list[tuple[str, str]]:
    pairs = data.metrics[["name", "unit"]].drop_duplicates()
    return [(str(n), str(u)) for n, u in pairs.itertuples(index=False)]


def _summary_rows(
    data: Data, summary: pd.DataFrame, measures: Sequence[Measure]
) -> Iterator[list[str]]:
    names = [m.name for m in measures]
    names += [column(n, u) for n, u in _workload_metrics(data)]
    for _, row in summary.iterrows():
        arm = [str(row[k]) for k in ("scheduler", "workload", "variant")]
        values = [number(float(row[name])) for name in names]
        yield [*arm, f"{row['n_used']}/{row['n_planned']}", *values]


def _in_words(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value, default=str)

    return [(name, text(value)) for name, value in flat(facts)]


def _listed(data: Data) -> pd.DataFrame:
    """Return the runs that the report lists: of many, first what went wrong."""
    runs = data.runs
    wrong = ~runs["used"] | (runs["reason"] != "")
    first = runs[wrong].index.append(runs[~wrong].index)[:MOST_RUNS]
    return runs.loc[first.sort_values()]


def _runs(data: Data, listed: pd.DataFrame) -> Iterator[Run]:
    specs: dict[str, RunSpec] = {s.run_id: s for s in data.manifest.specs}
    for row in listed.to_dict("records"):
        spec = specs[row["run_id"]]
        files = data.experiment.files(spec)
        yield Run(
            label=spec.label,
            block=spec.block,
            outcome=str(row["outcome"]),
            used=bool(row["used"]),
            reason=str(row["reason"]),
            log=_log_at(files.dmesg),
            dump=_log_at(files.dump),
        )


def _log_at(path: Path) -> Log | None:
    return read_log(path) if path.exists() else None


def read_log(path: Path) -> Log:
    """Return the first and the last lines of a log, and how many are between them."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [_clean(line) for line in file]
    head, tail = lines[:LOG_HEAD], lines[LOG_HEAD:][-LOG_TAIL:]
    left_out = len(lines) - len(head) - len(tail)
    return Log(_join(head), _join(tail), left_out, len(lines))


def _clean(line: str) -> str:
    line = _CONTROL_CHARACTERS.sub("�", line.rstrip("\r\n"))
    cut = len(line) - LOG_WIDTH
    return f"{line[:LOG_WIDTH]} [{cut} more characters]" if cut > 0 else line


def _join(lines: Iterable[str]) -> str:
    return "\n".join(lines)
