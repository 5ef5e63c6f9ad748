# SPDX-License-Identifier: GPL-2.0-only
"""How often the analysis claims what is not so, and how often it finds what is.

The rate of the claim of each of cases.cases(), with Clopper's and Pearson's interval at
95 %: an error rate where the claim is wrong, else the power.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from analysis.validation.scenarios import ALPHA, CONTRAST, LIMIT, Case, cases

#: Of each case at least 300, as some take a share of them.
EXPERIMENTS = 1000

Row = dict[str, Any]


def rows(experiments: int = EXPERIMENTS, seed: int = 1) -> list[Row]:
    """Return a row for each case: its rate, of errors or power, and interval."""
    places = range(len(cases()))
    one = partial(_row_at, experiments, seed)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(one, places))


def _row_at(experiments: int, seed: int, place: int) -> Row:
    """Return the row of a case by its place, as a case cannot be sent to a process."""
    return _row(cases()[place], experiments, [seed, place])


def exceeding(found: list[Row]) -> list[Row]:
    """Return the rows of ours whose false positives are above 5 % beyond chance."""
    return [
        {"above 5 %": r["scenario"], "claim": r["what"], "at least": r["low"]}
        for r in found
        if r["false_positive_rate"] is not None
        and r["low"] > ALPHA
        and not r["scenario"].startswith((CONTRAST, LIMIT))
    ]


def _row(case: Case, experiments: int, seed: list[int]) -> Row:
    n = max(1, round(experiments * case.share))
    claims = case.claim(n, np.random.default_rng(seed))
    low, high = proportion_confint(int(claims.sum()), n, alpha=0.05, method="beta")
    rate = round(float(claims.mean()), 4)
    return {
        "scenario": case.scenario,
        "what": case.what,
        "false_positive_rate": rate if case.wrong else None,
        "power": None if case.wrong else rate,
        "textbook_power": None if case.textbook is None else round(case.textbook, 4),
        "n": n,
        "blocks": case.blocks,
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
