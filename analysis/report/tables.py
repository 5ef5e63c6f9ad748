# SPDX-License-Identifier: GPL-2.0-only
"""The summary as a table: for files, for the terminal, and for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import pandas as pd
from rich.table import Table
from rich.text import Text

from analysis.compare.effect import BETTER, EQUIVALENT, NEUTRAL, UNCLEAR, WORSE
from analysis.compare.within_experiment import (
    PRIMARY,
    Comparison,
    workload_effects,
)
from analysis.load.arm_outcomes import ARM
from analysis.load.frames import Data
from analysis.load.measures import DASH, column, number, quantity
from analysis.verdicts.answer import Answer
from analysis.verdicts.criteria import Verdict
from analysis.verdicts.memory import Memory
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED

#: The columns of comparisons.csv: the fields of Comparison.
COMPARISON_COLUMNS = [
    *("scheduler", "workload", "variant", "metric", "unit", "source"),
    *("lower_is_better", "n_control", "n_test", "n_blocks", "control", "test"),
    *("kind", "estimate", "ci_low", "ci_high", "direction"),
    *("method", "p_value", "p_adjusted", "family_size"),
    *("role", "level", "resolution", "dependence", "control_mean"),
]

#: Heading and summary column of what the terminal and Markdown tables show.
SHOWN = {
    "max entries": "entries_max",
    "mean": "entries_mean",
    "final": "entries_final",
    "growth /s": "growth_entries_per_s",
    "growth /exit": "growth_entries_per_exit",
    "last half /s": "tail_entries_per_s",
    "evictions": "evictions",
    "evicted alive": "false_evictions",
    "leaked": "leaked",
    "longest scan us": "longest_scan_us",
    "BPF slab kB": "slab_bpf_kb",
}

DIRECTION_STYLE = {
    BETTER: "green",
    WORSE: "red",
    UNCLEAR: "yellow",
    NEUTRAL: "cyan",
} | {EQUIVALENT: "cyan"}
STATUS_STYLE = {HOLDS: "green", EQUIVALENT: "cyan", FAILS: "red", UNDECIDED: "yellow"}


def workload_cells(data: Data, row: pd.Series[float]) -> str:
    """Return the first metric of a workload, for tables that have room for one."""
    of = data.metrics[data.metrics["workload"] == row["workload"]]
    if of.empty:
        return DASH
    first = of.iloc[0]
    value = row[column(str(first["name"]), str(first["unit"]))]
    return quantity(float(value), str(first["unit"])) if pd.notna(value) else DASH


def cells(data: Data, table: pd.DataFrame) -> list[list[str]]:
    """Return the summary as text, a heading row first."""
    rows = [["scheduler", "workload", "variant", "runs", *SHOWN, "workload metric"]]
    for _, row in table.iterrows():
        values = [number(float(row[name])) for name in SHOWN.values()]
        runs = f"{row['n_used']}/{row['n_planned']}"
        arm = [str(row[k]) for k in ARM]
        rows.append([*arm, runs, *values, workload_cells(data, row)])
    return rows


def rich_table(data: Data, table: pd.DataFrame) -> Table:
    """Return a narrow table: a section per workload, a column per variant.

    Text from files is never taken as markup.
    """
    variants = sorted(table["variant"].unique())
    shown = Table(title="Medians over runs", title_justify="left")
    shown.add_column("")
    for variant in variants:
        shown.add_column(Text(str(variant)), justify="right", no_wrap=True)
    for (scheduler, workload), rows in table.groupby(ARM[:2], sort=True):
        of = rows.set_index("variant").reindex(variants)
        shown.add_row(Text(f"{scheduler} x {workload}", style="bold"))
        for heading, values in _rows(data, of, str(workload)):
            shown.add_row(Text(heading), *map(Text, values))
        shown.add_section()
    return shown


def _rows(
    data: Data, of: pd.DataFrame, workload: str
) -> Iterable[tuple[str, list[str]]]:
    """Return heading and one cell per variant; `of` is indexed by variant."""
    runs = zip(of["n_used"], of["n_planned"], strict=True)
    yield "runs", [f"{used:.0f}/{n:.0f}" if pd.notna(n) else DASH for used, n in runs]
    for heading, name in SHOWN.items():
        yield heading, [number(float(value)) for value in of[name]]
    metrics = data.metrics[data.metrics["workload"] == workload]
    for name, unit in metrics[["name", "unit"]].drop_duplicates().to_numpy():
        values = of[column(str(name), str(unit))]
        yield f"{name} {unit}", [number(float(value)) for value in values]


def verdict_lines(verdicts: Sequence[Verdict]) -> list[Text]:
    """Return a line per verdict: status, claim, sentence, and its runs."""
    lines = []
    for v in verdicts:
        line = Text(f"{v.status:14}", style=STATUS_STYLE[v.status])
        where = f"{v.group}: {v.criterion}. "
        line.append(where, style="bold").append(v.sentence, style="default")
        lines.append(line.append(f" [{v.runs}]", style="dim"))
    return lines


def answer_lines(found: Sequence[Answer]) -> list[Text]:
    """Return an answer in plain words for each group."""
    lines = []
    for a in found:
        line = Text(f"{a.group}\n", style="bold")
        line.append(f"{a.status}: ", style=STATUS_STYLE[a.status])
        lines.append(line.append(" ".join(a.sentences), style="default"))
    return lines


def worst_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the exploratory metrics of the workloads, the worst first."""
    order = [WORSE, NEUTRAL, UNCLEAR, BETTER, EQUIVALENT]
    found = [c for c in workload_effects(comparisons) if c.role != PRIMARY]
    return sorted(found, key=lambda c: order.index(c.direction))


def cost_lines(comparisons: Sequence[Comparison]) -> list[Text]:
    """Return a line per exploratory metric: worse, better, unclear, and numbers."""
    lines = []
    for c in worst_first(comparisons):
        line = Text(f"{c.direction:14}", style=DIRECTION_STYLE[c.direction])
        line.append(f"{c.group}: {c.metric}. ", style="bold")
        lines.append(line.append(c.sentence(), style="default"))
    return lines


def memory_lines(found: Sequence[Memory]) -> list[Text]:
    """Return one line per scheduler x workload: whether memory follows the map."""
    lines = []
    for m in found:
        line = Text(f"{'memory':14}", style="cyan").append(f"{m.where}. ", style="bold")
        lines.append(line.append(m.sentence(), style="default"))
    return lines


def markdown(
    data: Data,
    table: pd.DataFrame,
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    memory: Sequence[Memory],
    answers: Sequence[Answer] = (),
) -> str:
    """Return summary table, verdicts and costs, for a README or pull request."""
    heading, *rows = cells(data, table)
    left = len(ARM)
    rule = ["---" if i < left else "---:" for i in range(len(heading))]
    lines = [
        f"**{md(str(a.group))}: {a.status}.** {md(' '.join(a.sentences))}\n"
        for a in answers
    ]
    lines += [md_row(heading), md_row(rule), *map(md_row, rows), ""]
    lines += ["Medians over runs; runs: used/planned.", ""]
    for v in verdicts:
        lines.append(
            f"- **{v.status}**: {md(str(v.group))}: {v.criterion}. "
            f"{md(v.sentence)} Runs: {md(v.runs)}."
        )
    for c in worst_first(comparisons):
        where = f"{md(str(c.group))}: {md(c.metric)}"
        lines.append(f"- **{c.direction}**: {where}. {md(c.sentence())}")
    lines += [f"- {md(m.where)}: {md(m.sentence())}" for m in memory]
    return "\n".join(lines) + "\n"


def md(text: str) -> str:
    for mark in "\\`*_{}[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def md_row(row: Sequence[str]) -> str:
    return f"| {' | '.join(md(c) for c in row)} |"


def comparison_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return a row per comparison with all its fields, as comparisons.csv has them."""
    return pd.DataFrame([asdict(c) for c in comparisons], columns=COMPARISON_COLUMNS)


def verdict_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per verdict, columns as the fields of Verdict."""
    names = list(Verdict.__dataclass_fields__)
    return pd.DataFrame([asdict(v) for v in verdicts], columns=names)
