# SPDX-License-Identifier: GPL-2.0-only
"""Figures of odd data: they must be drawn, be small, and stay the same."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.load.samples_csv import read_samples
from analysis.report import plots
from analysis.report.sketch import Series, Text
from tests.unit import analysis_fixtures as fx

WORDS = Text("Control $ends at 7,000, test at 1_0^3$", "3 runs; " + "word " * 40)
ENTRIES = Series("map_entries", "map entries")


def frame(variants: list[str], runs: int, samples: int = 16) -> pd.DataFrame:
    parts = []
    for variant in variants:
        for run in range(1, runs + 1):
            shape = fx.growing() if variant == "control" else fx.plateau()
            spec = fx.spec(variant=variant, run=run)
            rows = read_samples(fx.csv_text(fx.rows(shape, spec))).head(samples)
            parts.append(rows.assign(variant=variant, run=run, block=run))
    return pd.concat(parts, ignore_index=True)


def words(svg: bytes) -> list[str]:
    """Every text of a figure; it is drawn as outlines, and stands in a comment."""
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    root = ET.fromstring(svg, parser)
    assert root.tag.endswith("svg")
    return [str(n.text).strip() for n in root.iter() if not isinstance(n.tag, str)]


def lines(svg: bytes, variants: list[str]) -> list[int]:
    """How many lines have the colour of each variant; those of the axes have others."""
    inside = re.findall(r'clip-path="[^"]+" style="([^"]*)"', svg.decode())
    colours = plots.colours(variants)
    return [sum(f"stroke: {colours[v]}" in style for style in inside) for v in variants]


@pytest.mark.parametrize(
    "variants, runs, samples",
    [(["control"], 1, 1), (["test"], 1, 2), (["control", "test-a", "test-b"], 2, 16)],
)
def test_few_samples_and_few_arms_are_drawn(
    variants: list[str], runs: int, samples: int
) -> None:
    svg = plots.over_time(frame(variants, runs, samples), ENTRIES, WORDS)
    assert {*variants, WORDS.finding, "map entries"} <= {*words(svg)}
    # Each run and the median
    assert lines(svg, variants) == [runs + 1] * len(variants)


def test_all_zeros_are_drawn() -> None:
    variants = ["control", "test"]
    data = frame(variants, 2).assign(map_entries=0.0)
    svg = plots.over_time(data, ENTRIES, WORDS)
    assert lines(svg, variants) == [3, 3]
    assert "0" in words(svg)


def test_many_runs_do_not_make_a_huge_file() -> None:
    one = frame(["control", "test"], 1)
    many = pd.concat([one.assign(run=i, block=i) for i in range(80)])
    svg = plots.over_time(many, ENTRIES, WORDS)
    assert {"control", "test"} <= {*words(svg)}
    assert b"<image" in svg
    assert len(svg) < 400_000


def test_the_same_data_give_the_same_figure() -> None:
    data = frame(["control", "test"], 2)
    first = plots.over_time(data, ENTRIES, WORDS)
    assert plots.over_time(data, ENTRIES, WORDS) == first
    assert not re.search(rb"20\d\d-\d\d-\d\d", first)


def test_the_limit_is_drawn_only_when_it_is_near() -> None:
    data = frame(["control"], 1)
    near = Series("map_entries", "map entries", 7500, "max_entries = 7,500")
    far = Series("map_entries", "map entries", 7.5e6, "max_entries = 7,500,000")
    with_line = plots.over_time(data, near, WORDS)
    assert with_line.count(b"<g id=") > plots.over_time(data, far, WORDS).count(
        b"<g id="
    )


def test_workload_metrics_of_any_size_and_sign_are_drawn() -> None:
    def rows(name: str, *values: float) -> pd.DataFrame:
        n = len(values)
        return pd.DataFrame(
            {
                "variant": ["control", "test"] * (n // 2),
                "block": np.arange(n) // 2,
                "run": np.arange(n) // 2,
                "name": name,
                "unit": "$u_$",
                "lower_is_better": True,
                "value": values,
            }
        )

    values = [
        rows("zero", 0, 0),
        rows("minus", -5, 3, 1e9, 4),
        rows("tiny", 1e-9, 2e-9),
    ]
    said = words(plots.metrics(pd.concat(values), WORDS))
    titles = [f"{name} ($u_$), lower is better" for name in ("zero", "minus", "tiny")]
    assert [text for text in said if text in titles] == titles
    assert WORDS.finding in said and said.count("test") == 3


def test_colours_tell_variants_apart_and_stay_the_same() -> None:
    names = ["control", "default", *(f"test-{c}" for c in "abcdef")]
    every = plots.colours(names)
    assert len(set(every.values())) == len(names)
    assert plots.colours(["control"])["control"] == every["control"]


def test_labels_at_the_ends_of_lines_keep_apart() -> None:
    ends = {"a": 100.0, "b": 100.0, "c": 99.0, "d": 0.0}
    placed = plots.spread(ends, (0.0, 100.0))
    at = sorted(placed.values())
    assert all(b - a >= 6.99 for a, b in itertools.pairwise(at))
    assert at[-1] <= 100 and at[0] >= 0
