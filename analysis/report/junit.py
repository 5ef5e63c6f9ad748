# SPDX-License-Identifier: GPL-2.0-only
"""What a pipeline reads: verdicts and broken runs as JUnit's XML.

A criterion that does not hold is a failure, one that is undecided is skipped, and only
one that holds passes. A run that ended badly or whose files are no data is an error,
one that was never done is skipped; those that are data are no test cases of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from analysis.load.frames import PENDING, UNNEEDED
from analysis.verdicts.criteria import Verdict
from analysis.verdicts.status import FAILS, UNDECIDED
from experiments.model import Outcome

#: What XML 1.0 has no way to write: kernel logs have escape sequences.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_NOT_DONE = (PENDING, UNNEEDED, Outcome.SKIPPED.value)


def junit(name: str, verdicts: Sequence[Verdict], runs: pd.DataFrame) -> str:
    """Return the XML of a suite `name`; `runs` are Data.runs."""
    suite = TestSuite(_clean(name))
    suite.add_testcases([*map(_of_verdict, verdicts), *_of_runs(runs)])
    xml = JUnitXml()
    xml.add_testsuite(suite)
    xml.update_statistics()
    text: str = xml.tostring().decode()
    return text


def _of_verdict(verdict: Verdict) -> TestCase:
    where = (verdict.scheduler, verdict.workload, verdict.variant)
    case = TestCase(_clean(verdict.criterion), _clean(".".join(where)))
    said = _clean(f"{verdict.sentence} [{verdict.runs}]")
    if verdict.status == FAILS:
        case.result = [Failure(said, verdict.status)]
    elif verdict.status == UNDECIDED:
        case.result = [Skipped(said, verdict.status)]
    return case


def _of_runs(runs: pd.DataFrame) -> Iterator[TestCase]:
    for run in runs[~runs["used"]].to_dict("records"):
        where = f"{run['scheduler']}.{run['workload']}.{run['variant']}"
        case = TestCase(f"run {run['run']}", _clean(where))
        outcome = str(run["outcome"])
        said = _clean(f"{outcome}: {run['reason']}" if run["reason"] else outcome)
        kind = Skipped if outcome in _NOT_DONE else Error
        case.result = [kind(said, outcome)]
        yield case


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)
