# SPDX-License-Identifier: GPL-2.0-only
"""What is cached is what the files say, or it is not used."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import aggregate_experiment
from analysis.load import cache, encoded, frames, records
from analysis.load.samples_csv import read_many, read_samples
from analysis.stats.estimators import MOST_POINTS, evenly, theil_sen
from experiments.errors import FormatError
from experiments.model import Outcome, RunSpec
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx
from tests.unit.load.test_frames import CORRUPT, GOOD, LINES


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the runs whose files are read, as they are."""
    labels: list[str] = []
    read = records._result

    def counted(experiment: Experiment, spec: RunSpec) -> object:
        labels.append(spec.label)
        return read(experiment, spec)

    monkeypatch.setattr(records, "_result", counted)
    return labels


@pytest.fixture
def lab(tmp_path: Path) -> fx.Lab:
    lab = fx.Lab(tmp_path / "e", fx.arms(3))
    for spec in lab.specs[:-1]:
        lab.ok(spec, fx.machine(fx.growing()), facts=fx.latency(spec))
    return lab


TABLES = (*("runs", "measured", "metrics", "sampling", "lateness", "agent", "curves"),)


def same(one: frames.Data, other: frames.Data) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.histograms == other.histograms
    assert one.set_aside == other.set_aside


def database(experiment: Experiment) -> Path:
    (path,) = (experiment.path / ".cache").glob("records-*.sqlite")
    return path


def test_only_a_new_run_is_read(lab: fx.Lab, reads: list[str]) -> None:
    first = frames.load(lab.experiment)
    assert len(reads) == 5
    reads.clear()
    same(frames.load(lab.experiment), first)
    assert reads == []
    lab.ok(lab.specs[-1], fx.growing())
    assert frames.load(lab.experiment).runs["used"].all()
    assert reads == [lab.specs[-1].label]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_changed_file_is_read_again(lab: fx.Lab, reads: list[str], kind: str) -> None:
    before = frames.load(lab.experiment)
    path: Path = getattr(lab.experiment.files(lab.specs[1]), kind)
    text, time = path.read_text(), path.stat().st_mtime_ns
    changed = {
        "csv": fx.replace_cell(text, 16, "map_entries", "99999"),
        "json": text.replace('"forks"', '"spoons"'),
    }[kind]
    assert changed != text
    path.write_text(changed)
    os.utime(path, ns=(time + 1, time + 1))
    reads.clear()
    after = frames.load(lab.experiment)
    assert reads == [lab.specs[1].label]
    if kind == "csv":
        assert after.measured.loc[1, "entries_final"] == 99999
        assert before.measured.loc[1, "entries_final"] != 99999
        assert (after.curves["map_entries"] == 99999).sum() == 1
    else:
        assert "spoons" in set(after.metrics["name"])


def test_a_run_that_went_away_is_no_data(lab: fx.Lab) -> None:
    assert frames.load(lab.experiment).runs["used"].sum() == 5
    lab.experiment.files(lab.specs[0]).csv.unlink()
    lab.experiment.files(lab.specs[1]).json.unlink()
    data = frames.load(lab.experiment)
    assert list(data.runs["outcome"][:2]) == ["OK", frames.PENDING]
    assert data.runs["used"].sum() == 3
    assert data.set_aside[0].reason == "the file is missing"


def test_what_was_not_ok_is_cached_with_its_reason(
    lab: fx.Lab, reads: list[str]
) -> None:
    lab.broken(lab.specs[-1], Outcome.EJECTED, "stall")
    lab.experiment.files(lab.specs[0]).csv.write_text(GOOD[:-7])
    first = frames.load(lab.experiment)
    reads.clear()
    again = frames.load(lab.experiment)
    assert reads == []
    same(again, first)
    assert "truncated" in again.set_aside[0].reason
    assert again.runs["reason"].iloc[-1] == "stall"


@pytest.mark.parametrize("garbage", [b"", b"no database at all" * 100])
def test_a_corrupt_cache_is_thrown_away(
    lab: fx.Lab, reads: list[str], garbage: bytes
) -> None:
    first = frames.load(lab.experiment)
    database(lab.experiment).write_bytes(garbage)
    reads.clear()
    same(frames.load(lab.experiment), first)
    assert len(reads) == 5


@pytest.mark.parametrize(
    "change",
    [
        "update runs set numbers = zeroblob(length(numbers))",
        "update kinds set words = replace(words, 'OK', 'ok')",
        "delete from kinds",
        "update drawables set curve = zeroblob(length(curve))",
        "delete from drawables",
    ],
)
def test_a_changed_number_in_the_cache_is_noticed(
    lab: fx.Lab, reads: list[str], change: str
) -> None:
    first = frames.load(lab.experiment)
    with sqlite3.connect(database(lab.experiment)) as connection:
        connection.execute(change)
    connection.close()
    reads.clear()
    same(frames.load(lab.experiment), first)
    assert len(reads) == 5


def test_other_code_has_a_cache_of_its_own(
    lab: fx.Lab, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames.load(lab.experiment)
    old = database(lab.experiment)
    monkeypatch.setattr(cache, "code_version", lambda: "other")
    reads.clear()
    frames.load(lab.experiment)
    assert len(reads) == 5
    assert database(lab.experiment) != old


@pytest.mark.parametrize("change", ["a module more", "a module less", "another line"])
def test_any_change_of_the_analysis_is_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    copy = tmp_path / "analysis"
    shutil.copytree(cache._ANALYSIS, copy)
    monkeypatch.setattr(cache, "_ANALYSIS", copy)
    before = cache.code_version.__wrapped__()
    assert before == cache.code_version()
    if change == "a module more":
        (copy / "room").mkdir()
        (copy / "room" / "new.py").touch()
    elif change == "a module less":
        (copy / "compare/regression_gate.py").unlink()
    else:
        with (copy / "report/effect_plots.py").open("a") as module:
            module.write("#\n")
    assert cache.code_version.__wrapped__() != before


def test_without_a_place_for_a_cache_all_is_read(lab: fx.Lab, reads: list[str]) -> None:
    first = frames.load(lab.experiment)
    database(lab.experiment).unlink()
    (lab.path / ".cache").rmdir()
    (lab.path / ".cache").write_text("a file where the directory should be")
    same(frames.load(lab.experiment), first)
    assert len(reads) == 10


# --- reading many files as one --------------------------------------------------------

ODD = [text for text, _ in CORRUPT.values()] + [
    GOOD.replace("\n", "\r\n"),
    GOOD.replace("16384", "16384\r", 1),
    "".join(",".join(line.rstrip("\n").split(",")[:5]) + "\n" for line in LINES),
    GOOD.replace("512000", "5_12000", 1),
    GOOD.replace("512000", "é", 1),
    GOOD[:200],
]


@pytest.mark.parametrize("text", ODD)
def test_read_with_others_is_read_alone(text: str) -> None:
    others = GOOD, fx.replace_cell(GOOD, 2, "map_entries", "77")
    read = read_many([others[0].encode(), text.encode(), others[1].encode()])
    for found, alone in zip(read, (others[0], text, others[1]), strict=True):
        try:
            expected = read_samples(alone).to_numpy()
        except FormatError as error:
            assert isinstance(found, FormatError)
            assert str(found) == str(error)
        else:
            assert isinstance(found, np.ndarray)
            np.testing.assert_array_equal(found, expected)


# --- slopes ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_slopes_are_those_of_scipy(seed: int) -> None:
    from scipy import stats

    rng = np.random.default_rng(seed)
    n, level = int(rng.integers(3, MOST_POINTS + 1)), 0.95 - 0.05 * (seed % 2)
    x = np.sort(rng.integers(0, 60, n)).astype(float)
    x[-1] += 1
    y = rng.normal(2 * x, 3).round(seed % 3)
    slope, _, low, high = stats.theilslopes(y, x, alpha=level)
    assert theil_sen(x, y, level) == (slope, low, high)


def test_a_long_run_is_thinned_with_both_ends() -> None:
    places = evenly(300, MOST_POINTS)
    assert len(places) == MOST_POINTS
    assert (places[0], places[-1]) == (0, 299)
    assert set(np.diff(places)) <= {4, 5}
    x = np.arange(300.0)
    noisy = 5 * x + np.random.default_rng(1).normal(0, 20, 300)
    found = theil_sen(x, noisy)
    assert found.low < 5 < found.high
    assert found == theil_sen(x[places], noisy[places])


# --- many runs ------------------------------------------------------------------------


def test_of_many_blocks_some_are_drawn_and_the_figure_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "DRAWN_BLOCKS", 3)
    monkeypatch.setattr("analysis.report.html.MOST_RUNS", 5)
    done = aggregate_experiment(fx.typical(tmp_path / "e", fx.arms(6)))
    drawn = done.data.runs[done.data.runs["drawn"]]
    blocks = set(drawn["block"])
    assert len(blocks) == 3
    assert len(drawn) == 6
    assert set(done.data.curves["run"]) == blocks
    assert len(done.runs) == 12
    assert done.comparisons[0].n_blocks == 6
    page = done.report.read_text()
    assert "5 of 12 runs are listed" in page
    assert "The first 5 of 12 runs" in page


def test_another_block_moves_at_most_one_out_of_the_figures_and_reads_its_runs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    monkeypatch.setattr(frames, "DRAWN_BLOCKS", 3)
    experiment = fx.typical(tmp_path / "e", fx.arms(12))
    specs = experiment.manifest().specs
    paths = {s.run_id: experiment.files(s).json for s in specs if s.block > 6}
    away = {run_id: path.read_bytes() for run_id, path in paths.items()}
    for path in paths.values():
        path.unlink()

    def drawn() -> set[int]:
        runs = frames.load(experiment).runs
        return set(runs.loc[runs["drawn"], "block"])

    shown = drawn()
    for block in range(7, 13):
        reads.clear()
        back = [s.run_id for s in specs if s.block == block]
        for run_id in back:
            paths[run_id].write_bytes(away[run_id])
        now = drawn()
        assert len(now) == 3
        assert now - shown <= {block}
        assert len(reads) == len(back)
        shown = now


def test_a_run_that_comes_into_the_figures_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    experiment = fx.typical(tmp_path / "e", fx.arms(4))
    monkeypatch.setattr(frames, "DRAWN_BLOCKS", 3)
    frames.load(experiment)
    reads.clear()
    monkeypatch.setattr(frames, "DRAWN_BLOCKS", 4)
    data = frames.load(experiment)
    assert len(reads) == 2
    assert data.curves["run"].nunique() == 4


def test_many_runs_are_read_by_several_processes_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = fx.typical(tmp_path / "e", fx.arms(20))
    specs = experiment.manifest().specs
    drawn = {specs[0].run_id, specs[-1].run_id}
    one = list(encoded.read(experiment, specs, drawn))
    monkeypatch.setattr(encoded, "_MANY", 1)
    assert list(encoded.read(experiment, specs, drawn)) == one
    assert [r.curve is not None for r in one] == [s.run_id in drawn for s in specs]
