# SPDX-License-Identifier: GPL-2.0-only
"""What the samplers declare is what the files have, and what the docs say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments import registry
from experiments.agent import run_job
from experiments.agent.workload_driver import RunEnded
from experiments.columns import CSV_COLUMNS, Column, Kind, added, header, is_header
from experiments.model import Sample

DOCS = Path(__file__).parents[2] / "docs/result-format.md"
FREE = Column("free_percent", "%", "free time", Kind.GAUGE)
HITS = Column("hits", "hits", "hits of the cache", Kind.COUNTER)
DECLARED = {
    column: name
    for name in reversed(registry.names("sampler"))
    for column in registry.sampler(name).columns
}


def test_every_column_of_schema_1_is_declared() -> None:
    assert {column.name for column in DECLARED} >= {*CSV_COLUMNS} - {"timestamp"}


def test_a_column_is_the_same_whoever_fills_it() -> None:
    assert len({column.name for column in DECLARED}) == len(DECLARED)


@pytest.mark.parametrize(("column", "sampler"), DECLARED.items())
def test_the_docs_have_a_line_for_each_column(column: Column, sampler: str) -> None:
    cells = (f"`{column.name}`", column.unit, column.kind, column.meaning)
    line = f"| {' | '.join(cells)} | `{sampler}` |"
    assert line in DOCS.read_text().splitlines(), f"add to {DOCS.name}: {line}"


def test_what_samplers_add_stands_at_the_right() -> None:
    forks = registry.sampler("forks").columns
    assert header(forks) == CSV_COLUMNS
    assert header((HITS, *forks, FREE, HITS)) == (*CSV_COLUMNS, "hits", "free_percent")
    assert added((HITS, *forks)) == (HITS,)
    row = Sample(1.5, {"hits": 7.0, "forks": 2.0}).row(header([HITS]))
    assert (row[0], row[-1], row[CSV_COLUMNS.index("forks")]) == ("1.500", "7", "2")
    assert row.count("") == len(CSV_COLUMNS) - 2


@pytest.mark.parametrize(
    ("names", "is_known"),
    [
        (CSV_COLUMNS[:5], True),
        (CSV_COLUMNS[:20], True),
        ((*CSV_COLUMNS, "of_another_project"), True),
        (CSV_COLUMNS[:4], False),
        ((*CSV_COLUMNS[:20], "of_another_project"), False),
        (tuple(reversed(CSV_COLUMNS)), False),
    ],
)
def test_headers_of_all_versions_are_known(
    names: Sequence[str], is_known: bool
) -> None:
    assert is_header(names) == is_known


def test_what_no_sampler_declares_is_no_column() -> None:
    run_job._check_declared({"hits": 1.0}, header([HITS]))
    with pytest.raises(RunEnded, match="declares the columns hits"):
        run_job._check_declared({"hits": 1.0, "forks": 1.0}, CSV_COLUMNS)
