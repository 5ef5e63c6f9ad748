# SPDX-License-Identifier: GPL-2.0-only
"""All of the analysis of one experiment: read, judge, draw, and write it down.

Writes into the experiment's directory, over what an earlier call wrote there:
summary.csv, runs.csv, comparisons.csv, verdicts.csv, summary.md, junit.xml, plots/*.svg
and report.html; of a ledger also ledger.csv, of an A/A experiment noise.csv.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype
from rich.table import Table
from rich.text import Text

from analysis.compare import looks
from analysis.load.frames import load
from analysis.report import figures, junit, tables
from analysis.report.html import render
from analysis.report.sketch import Drawn
from analysis.verdicts import findings
from analysis.verdicts.findings import Findings
from experiments.store.experiment import Experiment
from experiments.support.files import atomic_write


@dataclass(frozen=True)
class Aggregated(Findings):
    """What an experiment says, and where that is written: the path of report.html."""

    report: Path

    def summary_table(self) -> Table:
        """Return the medians over runs.

        Of a ledger, what each sampler costs; or the noise.
        """
        if self.is_ledger and self.ledger is not None:
            return self.ledger.rich_table()
        if self.is_aa and self.noise is not None:
            return self.noise.rich_table()
        return tables.rich_table(self.data, self.summary)

    def answer_lines(self) -> list[Text]:
        """Return one answer for each test variant, in plain words."""
        return tables.answer_lines(self.answers)

    def verdict_lines(self) -> list[Text]:
        return tables.verdict_lines(self.verdicts)

    def cost_lines(self) -> list[Text]:
        """Return what the treatment does to the workloads, and memory to the map."""
        if self.is_ledger or self.is_aa:
            return []
        return tables.cost_lines(self.comparisons) + tables.memory_lines(self.memory)

    def set_aside_lines(self) -> list[Text]:
        """Return the files that are no data, each with the reason."""
        return [Text(f"set aside: {s.file}: {s.reason}") for s in self.data.set_aside]


def aggregate_experiment(experiment: Experiment) -> Aggregated:
    """Analyse `experiment` and write the results beside its runs.

    Runs that are not finished, failed or are corrupt are counted, not needed. Raises
    FormatError when the manifest cannot be read.
    """
    data = load(experiment)
    # Of tens of thousands of runs there are so many objects that every collection of
    # garbage (statsmodels asks for one with every correction) takes a third of a second
    gc.freeze()
    found = findings.find(data)
    done = Aggregated(**vars(found), report=experiment.path / "report.html")
    if done.is_ledger or done.is_aa:
        drawn = figures.draw_metrics(data, done.comparisons)
    else:
        drawn = figures.draw(data, done.comparisons, done.noise)
    _write(done, drawn)
    looks.note(data)
    return done


def _write(done: Aggregated, drawn: list[Drawn]) -> None:
    folder = done.report.parent
    _write_csv(folder / "summary.csv", done.summary)
    _write_csv(folder / "comparisons.csv", tables.comparison_frame(done.comparisons))
    _write_csv(folder / "verdicts.csv", tables.verdict_frame(done.verdicts))
    _write_csv(folder / "runs.csv", done.runs)
    if done.is_ledger and done.ledger is not None:
        _write_csv(folder / "ledger.csv", done.ledger.table)
    if done.is_aa and done.noise is not None:
        _write_csv(folder / "noise.csv", done.noise.table)
    text = tables.markdown(
        done.data,
        done.summary,
        done.comparisons,
        done.verdicts,
        done.memory,
        done.answers,
    )
    atomic_write(folder / "summary.md", text)
    xml = junit.junit(folder.name, done.verdicts, done.data.runs)
    atomic_write(folder / "junit.xml", xml)
    _write_plots(folder / "plots", drawn)
    atomic_write(done.report, render(done, drawn))


def _write_plots(folder: Path, drawn: list[Drawn]) -> None:
    """Write them, and take away those of an earlier call that are no more."""
    for figure in drawn:
        atomic_write(folder / f"{figure.name}.svg", figure.svg)
    for old in set(folder.glob("*.svg")) - {folder / f"{d.name}.svg" for d in drawn}:
        old.unlink()


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    atomic_write(path, inert(frame).to_csv(index=False, lineterminator="\n"))


#: A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA = ("=", "+", "@", "-", "\t", "\r")


def inert(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with a quote before every text that a spreadsheet would run."""
    texts = [n for n, kind in frame.dtypes.items() if not is_numeric_dtype(kind)]
    shown = frame.copy(deep=False)
    for name in texts:
        shown[name] = [
            f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
            for cell in frame[name]
        ]
    return shown
