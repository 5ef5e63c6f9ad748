# SPDX-License-Identifier: GPL-2.0-only
"""What is read is data or set aside with a reason; never a number nobody measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.load.frames import PENDING, UNREADABLE, load
from analysis.load.measures import COLUMNS
from analysis.load.samples_csv import read_samples
from experiments.columns import CSV_COLUMNS
from experiments.errors import FormatError
from experiments.model import Metric, Outcome
from tests.unit import analysis_fixtures as fx

CONTROL = fx.spec()
GOOD = fx.csv_text(fx.rows(fx.growing(), CONTROL))
LINES = GOOD.splitlines(keepends=True)
HEADER = LINES[0]

CORRUPT = {
    "empty": ("", "the file is empty"),
    "blank": ("\n\n", "the file is empty"),
    "no header": ("".join(LINES[1:]), "the first line is not the header"),
    "header only": (HEADER, "a header and no samples"),
    "header again": (GOOD + "".join(LINES), "line 18 is a header again"),
    "cut in a line": (GOOD[:-7], "has no end"),
    "cut in a cell": (GOOD[: GOOD.rindex(",", 0, -20)], "has no end"),
    "cut line": (
        GOOD + "32.000,7000\n",
        f"line 18 has 2 cells, not {len(CSV_COLUMNS)}",
    ),
    "blank line": (GOOD + "\n", "line 18 has 1 cells"),
    "garbage": (fx.replace_cell(GOOD, 4, "map_entries", "many"), "not a number"),
    "binary": (fx.replace_cell(GOOD, 4, "map_entries", "\0"), "not a number"),
    "infinite": (fx.replace_cell(GOOD, 4, "evictions", "inf"), "infinite"),
    "negative": (fx.replace_cell(GOOD, 4, "map_entries", "-3"), "negative"),
    "no time": (fx.replace_cell(GOOD, 4, "timestamp", ""), "timestamps"),
    "clock": (fx.replace_cell(GOOD, 4, "timestamp", "99"), "run backwards"),
    "quoted": (GOOD.replace(",512000,", ',"512000",', 1), "cells"),
    "other columns": (GOOD.replace("free_mem_kb", "free"), "not the header"),
}


@pytest.mark.parametrize("text, reason", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_csv_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read_samples(text)


def test_every_cell_arrives() -> None:
    frame = read_samples(GOOD)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 16
    written = [line.rstrip("\n").split(",") for line in LINES[1:]]
    there = frame[list(CSV_COLUMNS)].to_numpy()
    for row, cells in zip(there, written, strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert (np.isnan(value) and cell == "") or value == float(cell)


def test_absent_cells_stay_absent() -> None:
    frame = read_samples(fx.replace_cell(GOOD, 3, "map_entries", ""))
    assert np.isnan(frame["map_entries"][2])
    assert frame["map_entries"].notna().sum() == 15
    assert frame["scans"].isna().all()


def test_five_columns_and_windows_line_ends_are_read() -> None:
    old = "\r\n".join(",".join(line.split(",")[:5]) for line in GOOD.splitlines())
    frame = read_samples(old + "\r\n")
    assert frame["map_entries"].notna().all()
    assert frame["forks"].isna().all()


def test_further_columns_at_the_right_are_left_alone() -> None:
    wider = "".join(line.rstrip("\n") + ",9\n" for line in LINES[1:])
    frame = read_samples(HEADER.rstrip("\n") + ",later\n" + wider)
    assert tuple(frame.columns) == COLUMNS


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text("0123456789.,-e\n", max_size=200))
def test_wild_text_is_data_or_a_format_error(tail: str) -> None:
    try:
        frame = read_samples(HEADER + tail)
    except FormatError:
        return
    assert frame["timestamp"].notna().all()
    assert (frame.to_numpy()[~np.isnan(frame.to_numpy())] >= 0).all()
    assert len(frame) == tail.count("\n")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1))
def test_a_file_cut_anywhere_never_has_other_numbers(cut: int) -> None:
    try:
        frame = read_samples(GOOD[:cut])
    except FormatError:
        return
    assert frame.equals(read_samples(GOOD).head(len(frame)))


@pytest.fixture
def lab(tmp_path: Path) -> fx.Lab:
    return fx.Lab(tmp_path / "e", fx.arms(2))


def test_only_ok_runs_are_data(lab: fx.Lab) -> None:
    first, second, third, _ = lab.specs
    lab.ok(first, fx.growing())
    lab.broken(second, Outcome.EJECTED, "stall")
    lab.broken(third, Outcome.LOST, "panic")
    data = load(lab.experiment)
    assert list(data.runs["outcome"]) == ["OK", "EJECTED", "LOST", PENDING]
    assert list(data.runs["used"]) == [True, False, False, False]
    assert list(data.runs["reason"]) == ["", "stall", "panic", ""]
    assert set(data.curves["run"]) == {1}
    assert list(data.metrics["name"]) == ["forks"]
    assert data.set_aside == ()


def test_a_corrupt_run_is_set_aside_and_never_zeros(lab: fx.Lab) -> None:
    lab.ok(lab.specs[0], fx.growing())
    lab.ok_text(lab.specs[2], GOOD[:-7])
    data = load(lab.experiment)
    (aside,) = data.set_aside
    assert aside.file == "scx_simple/control/hackbench_run2.csv"
    assert "truncated" in aside.reason
    assert set(data.curves["run"]) == {1}
    assert set(data.metrics["run"]) == {1}


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\0", "".join(LINES[:5]).encode()])
def test_unusable_bytes_are_set_aside(lab: fx.Lab, text: bytes) -> None:
    lab.ok_text(lab.specs[0], text)
    data = load(lab.experiment)
    assert len(data.set_aside) == 1
    assert data.curves.empty
    assert not data.runs["used"].any()


def test_a_file_cut_at_a_line_end_covers_too_little_time(lab: fx.Lab) -> None:
    lab.ok_text(lab.specs[0], "".join(LINES[:6]))
    assert "cover 8.0 s of 30 s" in load(lab.experiment).set_aside[0].reason


def test_a_hole_in_the_samples_is_set_aside(lab: fx.Lab) -> None:
    lab.ok_text(lab.specs[0], "".join([*LINES[:4], *LINES[-3:]]))
    assert "no samples for" in load(lab.experiment).set_aside[0].reason


HOSTILE: list[dict[str, object]] = [
    {"flags": None},
    {"flags": 5},
    {"map_max_entries": 10**400},
    {"lost_attempts": 10**400},
    {"lost_attempts": -1},
    {"sampling": {"x": {"samples": 10**400}}},
    {"run_queue_latency": {"from_us": [0.0], "to_us": [1e999], "count": [1]}},
    {"maps": {"tasks": 5}, "map": ["x"]},
]


@pytest.mark.parametrize("facts", HOSTILE, ids=str)
def test_facts_that_are_odd_are_named_and_the_run_is_data(
    lab: fx.Lab, facts: dict[str, object]
) -> None:
    lab.ok(lab.specs[0], fx.growing(), facts=facts)
    data = load(lab.experiment)
    assert data.runs["used"].sum() == 1
    named = {aside.file.rpartition(": ")[2] for aside in data.set_aside}
    assert named == set(facts)


@pytest.mark.parametrize(("rows", "is_data"), [(8, False), (13, False), (14, True)])
def test_samples_have_to_cover_nine_tenths_of_the_run(
    lab: fx.Lab, rows: int, is_data: bool
) -> None:
    """A sample every 2 s of 30: until 14 s, 24 s and 26 s."""
    lab.ok_text(lab.specs[0], "".join(LINES[: 1 + rows]))
    assert bool(load(lab.experiment).runs["used"].any()) is is_data


def test_a_missing_csv_is_set_aside(lab: fx.Lab) -> None:
    lab.ok(lab.specs[0], fx.growing())
    lab.experiment.files(lab.specs[0]).csv.unlink()
    assert load(lab.experiment).set_aside[0].reason == "the file is missing"


def test_a_corrupt_or_foreign_result_is_set_aside(lab: fx.Lab) -> None:
    first, second = lab.specs[:2]
    lab.ok(first, fx.growing())
    lab.ok(second, fx.plateau())
    files = [lab.experiment.files(s) for s in (first, second)]
    files[1].json.write_bytes(files[0].json.read_bytes())
    files[0].json.write_text('{"schema": 1')
    data = load(lab.experiment)
    assert list(data.runs["outcome"][:2]) == [UNREADABLE, UNREADABLE]
    assert "belongs to another run" in data.set_aside[1].reason
    assert str(lab.path) not in data.set_aside[0].reason
    assert data.curves.empty


def test_nothing_done_yet_still_loads(lab: fx.Lab) -> None:
    data = load(lab.experiment)
    assert list(data.runs["outcome"]) == [PENDING] * 4
    assert data.curves.empty and data.metrics.empty
    assert data.curves["map_entries"].dtype == float


def test_metrics_keep_unit_and_direction(lab: fx.Lab) -> None:
    metric = Metric("round_time", 1.25, "s", lower_is_better=True)
    lab.ok(lab.specs[0], fx.growing(), [metric])
    (row,) = load(lab.experiment).metrics.to_dict("records")
    assert (row["name"], row["value"], row["unit"]) == ("round_time", 1.25, "s")
    assert row["lower_is_better"] is True
