# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis.load.frames import load
from analysis.report import junit
from analysis.verdicts.criteria import Verdict
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from experiments.commands import results
from experiments.model import Outcome
from tests.unit import analysis_fixtures as fx


def verdict(status: str, criterion: str = "c", sentence: str = "Because.") -> Verdict:
    return Verdict("s", "w", "test", criterion, status, sentence, "control 3/3")


def runs_of(tmp_path: Path, *outcomes: Outcome) -> pd.DataFrame:
    """The first run is OK, then one of each of the outcomes, and one is not done."""
    lab = fx.Lab(tmp_path / "e", fx.arms(len(outcomes) + 2, ("test",)))
    lab.ok(lab.specs[0], fx.growing())
    for spec, outcome in zip(lab.specs[1:], outcomes, strict=False):
        lab.broken(spec, outcome, "stall \x1b[31m<10 s>\x00")
    return load(lab.experiment).runs


def parsed(*verdicts: Verdict, runs: pd.DataFrame) -> ElementTree.Element:
    return ElementTree.fromstring(junit.junit("e", verdicts, runs))


def test_only_what_holds_passes(tmp_path: Path) -> None:
    verdicts = [verdict(s, s) for s in (HOLDS, FAILS, UNDECIDED)]
    root = parsed(*verdicts, runs=runs_of(tmp_path)[:1])
    suite = root.find("testsuite")
    assert suite is not None
    assert suite.attrib["name"] == "e"
    counted = {k: suite.attrib[k] for k in ("tests", "failures", "skipped", "errors")}
    assert counted == {"tests": "3", "failures": "1", "skipped": "1", "errors": "0"}
    results = {c.attrib["name"]: [r.tag for r in c] for c in suite}
    assert results == {HOLDS: [], FAILS: ["failure"], UNDECIDED: ["skipped"]}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "Because. [control 3/3]"


def test_a_broken_run_is_an_error_and_one_not_done_is_skipped(tmp_path: Path) -> None:
    broken = (Outcome.FAILED, Outcome.EJECTED, Outcome.LOST, Outcome.TIMEOUT)
    root = parsed(runs=runs_of(tmp_path, *broken, Outcome.SKIPPED))
    results = [(c.attrib["name"], c[0].tag) for c in root.iter("testcase")]
    assert results == [
        *((f"run {n}", "error") for n in (2, 3, 4, 5)),
        ("run 6", "skipped"),
        ("run 7", "skipped"),
    ]
    assert [e.attrib["type"] for e in root.iter("error")] == list(map(str, broken))
    (first, *_) = root.iter("error")
    assert first.attrib["message"] == "FAILED: stall [31m<10 s>"


def test_a_file_that_is_no_data_is_an_error(tmp_path: Path) -> None:
    lab = fx.Lab(tmp_path / "e", fx.arms(1, ("test",)))
    lab.ok_text(lab.specs[0], "nonsense\n")
    (error,) = parsed(runs=load(lab.experiment).runs).iter("error")
    assert error.attrib["message"].startswith("OK: the first line is not the header")


def test_the_page_of_a_job_is_appended_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, summary = tmp_path / "page.md", tmp_path / "summary.md"
    page.write_text("before\n")
    summary.write_text("| a |\n")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    results._append_summary(summary)
    assert page.read_text() == "before\n"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    results._append_summary(summary)
    assert page.read_text() == "before\n| a |\n\n"
