# SPDX-License-Identifier: GPL-2.0-only
"""All of the analysis of one experiment: read, judge, draw, and write it down.

Writes into the experiment's directory, over what an earlier call wrote there:
summary.csv, comparisons.csv, verdicts.csv, summary.md, plots/*.svg and report.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from analysis import figures, report, tables
from analysis.compare import Comparison, compare
from analysis.load import Data, load
from analysis.per_run import per_run, tidy
from analysis.verdicts import HOLDS, Verdict, judge
from experiments.results import Experiment, atomic_write


@dataclass(frozen=True)
class Aggregated:
    """What an experiment says, and where that is written.

    ``summary`` is that of tables.summary(); ``report`` the path of report.html.
    """

    data: Data
    summary: pd.DataFrame
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    report: Path

    @property
    def all_hold(self) -> bool:
        """Whether there are verdicts and every one of them holds."""
        return bool(self.verdicts) and all(v.status == HOLDS for v in self.verdicts)

    def summary_table(self) -> Table:
        return tables.rich_table(self.data, self.summary)

    def verdict_lines(self) -> list[Text]:
        return tables.verdict_lines(self.verdicts)

    def cost_lines(self) -> list[Text]:
        """What the treatment does to each workload's own metrics."""
        return tables.cost_lines(self.comparisons)

    def set_aside_lines(self) -> list[Text]:
        """The files that are no data, each with the reason."""
        return [Text(f"set aside: {s.file}: {s.reason}") for s in self.data.set_aside]


def aggregate(experiment: Experiment) -> Aggregated:
    """Analyse `experiment` and write the results beside its runs.

    Runs that are not finished, failed or are corrupt are counted, not needed. Raises
    FormatError when the manifest cannot be read.
    """
    data = load(experiment)
    runs = per_run(data)
    table = tidy(data, runs)
    comparisons = compare(data, table)
    done = Aggregated(
        data=data,
        summary=tables.summary(data, table),
        comparisons=tuple(comparisons),
        verdicts=tuple(judge(data, runs, comparisons)),
        report=experiment.path / "report.html",
    )
    _write(done, figures.draw(data, comparisons))
    return done


def _write(done: Aggregated, drawn: list[figures.Drawn]) -> None:
    folder = done.report.parent
    _write_csv(folder / "summary.csv", done.summary)
    _write_csv(folder / "comparisons.csv", tables.comparison_frame(done.comparisons))
    _write_csv(folder / "verdicts.csv", tables.verdict_frame(done.verdicts))
    text = tables.markdown(done.data, done.summary, done.comparisons, done.verdicts)
    atomic_write(folder / "summary.md", text)
    _write_plots(folder / "plots", drawn)
    page = report.render(
        done.data, done.summary, done.comparisons, done.verdicts, drawn
    )
    atomic_write(done.report, page)


def _write_plots(folder: Path, drawn: list[figures.Drawn]) -> None:
    """Write them, and take away those of an earlier call that are no more."""
    for figure in drawn:
        atomic_write(folder / f"{figure.name}.svg", figure.svg)
    for old in set(folder.glob("*.svg")) - {folder / f"{d.name}.svg" for d in drawn}:
        old.unlink()


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    atomic_write(path, frame.to_csv(index=False, lineterminator="\n"))
