# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.compare.within_experiment import (
    CLAIM,
    EXPLORATORY,
    PRIMARY,
    Comparison,
)
from analysis.verdicts.workload_pace import judge_pace

FORKS = Comparison(
    scheduler="scx_simple",
    workload="stress-ng",
    variant="test",
    metric="forks",
    unit="1/s",
    source="workload",
    lower_is_better=False,
    n_control=8,
    n_test=8,
    n_blocks=8,
    control=390.0,
    control_mean=400.0,
    test=380.0,
    kind="ratio",
    estimate=0.95,
    ci_low=0.93,
    ci_high=0.97,
    direction="worse",
    role=PRIMARY,
)


@pytest.mark.parametrize(
    ("direction", "ends", "status"),
    [
        ("worse", (0.93, 0.965), "does not hold"),
        ("better", (1.04, 1.09), "holds"),
        ("equivalent", (0.972, 1.02), "equivalent"),
        ("unclear", (0.80, 1.20), "undecided"),
        ("worse", (0.93, 0.98), "undecided"),  # worse, but by how much is open
        ("unclear", (0.99, 1.20), "holds"),  # at worst too little to matter
        ("unclear", (None, None), "undecided"),
        ("unclear", (0.98, 1.02), "undecided"),  # nobody knows how fine the values are
    ],
)
def test_the_first_metric_decides(
    direction: str, ends: tuple[float | None, float | None], status: str
) -> None:
    first = replace(FORKS, direction=direction, ci_low=ends[0], ci_high=ends[1])
    second = replace(FORKS, metric="latency", direction="worse", role=EXPLORATORY)
    entries = replace(FORKS, source="samples", metric="entries_max", role=CLAIM)
    found, sentence = judge_pace([entries, first, second])
    assert found == status
    assert sentence.startswith("forks: Against control's 400/s test has ")


def test_no_metric_is_no_verdict() -> None:
    found, sentence = judge_pace([replace(FORKS, source="samples", role=EXPLORATORY)])
    assert found == "undecided"
    assert "no metric" in sentence
