# SPDX-License-Identifier: GPL-2.0-only
"""What the automation before left is data, or named; never zeros, never proved."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from analysis.aggregate import aggregate_experiment
from analysis.verdicts.criteria import EVICTS, GROWS, NO_CRASH, NOT_PROVED
from analysis.verdicts.status import FAILS, HOLDS, UNDECIDED
from experiments.errors import ConfigError, FormatError
from experiments.store import legacy_import
from experiments.store.experiment import Experiment

GOLDEN = Path(__file__).parents[2] / "golden" / "prior"
HEADER = b"timestamp,map_entries,free_mem_kb,slab_bpf_kb,evictions\n"

REFUSED = {
    "scx_nest/control/hackbench_run2.csv": "the file is empty",
    "scx_nest/test/hackbench_run2.csv": "there are 0 samples",
    "scx_nest/test/hackbench_run3.csv": "line 3 has 3 cells, not 5",
    "scx_simple/test/stress-ng_run3.csv": "the clock begins again",
}
FLAGS = {
    "scx_simple/control/stress-ng_run1": ["slab_bpf_kb is 0 throughout"],
    "scx_simple/control/stress-ng_run2": ["the header came again, 1 times", "slab"],
    "scx_simple/control/stress-ng_run3": ["the last line was cut: '58,44'", "slab"],
    "scx_simple/test/stress-ng_run1": ["slab"],
    "scx_simple/test/stress-ng_run2": [
        "slab",
        "evictions disagree: 16 in the CSV, 24 in the kernel log",
    ],
    "scx_nest/control/hackbench_run1": ["map_entries is 0 throughout", "slab"],
    "scx_nest/test/hackbench_run1": ["map_entries is 0", "slab", "evictions is 0"],
}


@pytest.fixture
def done(tmp_path: Path) -> legacy_import.Imported:
    return legacy_import.import_tree(GOLDEN, tmp_path / "imported")


def test_what_is_no_data_is_named(done: legacy_import.Imported) -> None:
    assert {r.file for r in done.refused} == set(REFUSED)
    for refused in done.refused:
        assert REFUSED[refused.file] in refused.reason


def test_what_was_left_out_is_flagged(done: legacy_import.Imported) -> None:
    found = {r.spec.label: r.facts.get("flags", []) for r in done.experiment.results()}
    assert set(found) == set(FLAGS)
    for label, flags in FLAGS.items():
        assert len(found[label]) == len(flags), (label, found[label])
        for flag, expected in zip(found[label], flags, strict=True):
            assert expected in flag
    assert done.runs == done.flagged == 7


def test_the_manifest_says_where_it_is_from(done: legacy_import.Imported) -> None:
    manifest = done.experiment.manifest()
    assert manifest.facts["imported"]["source"] == str(GOLDEN)
    assert manifest.outcomes == {"OK": 7}
    assert all(not r.proof for r in done.experiment.results())
    assert all(r.facts["proved"] is False for r in done.experiment.results())


def test_runs_of_the_same_number_are_a_block(done: legacy_import.Imported) -> None:
    blocks: dict[int, list[str]] = {}
    for spec in done.experiment.manifest().specs:
        blocks.setdefault(spec.block, []).append(spec.label)
    pairs = sorted(labels for labels in blocks.values() if len(labels) == 2)
    assert pairs == [
        ["scx_nest/control/hackbench_run1", "scx_nest/test/hackbench_run1"],
        ["scx_simple/control/stress-ng_run1", "scx_simple/test/stress-ng_run1"],
        ["scx_simple/control/stress-ng_run2", "scx_simple/test/stress-ng_run2"],
    ]


def test_numbers_arrive_and_zeros_do_not(done: legacy_import.Imported) -> None:
    data = aggregate_experiment(done.experiment).data
    keys = ["scheduler", "variant", "run"]
    runs = {
        tuple(row[k] for k in keys): row for row in data.measured.to_dict("records")
    }
    simple = runs["scx_simple", "control", 3]
    assert simple["entries_final"] == 430
    assert simple["evictions"] == 0
    assert runs["scx_simple", "test", 2]["evictions"] == 16
    for variant in ("control", "test"):
        nest = runs["scx_nest", variant, 1]
        for name in ("entries_max", "entries_mean", "growth_entries_per_s"):
            assert math.isnan(nest[name])
    assert all(math.isnan(row["slab_bpf_kb"]) for row in runs.values())
    assert {a.file for a in data.set_aside} == set(REFUSED)


def test_no_sentence_claims_what_nobody_recorded(done: legacy_import.Imported) -> None:
    found = aggregate_experiment(done.experiment)
    assert found.verdicts
    for verdict in found.verdicts:
        assert verdict.sentence.endswith(NOT_PROVED)
        assert "ended OK" not in verdict.sentence
        if verdict.criterion == NO_CRASH:
            assert verdict.status == UNDECIDED
        if verdict.scheduler == "scx_nest":
            assert verdict.status == UNDECIDED, verdict
    assert any(v.status == HOLDS for v in found.verdicts)
    page = found.report.read_text()
    assert "Imported, not proved:" in page
    assert str(GOLDEN) in page
    assert "ended OK" not in page


def test_what_the_zeros_and_logs_say_is_said(done: legacy_import.Imported) -> None:
    imported = done.experiment.manifest().facts["imported"]
    assert {
        "scheduler": "scx_nest",
        "workload": "hackbench",
        "variant": "test",
        "columns": ["evictions", "map_entries", "slab_bpf_kb"],
    } in imported["no_information"]
    logs = imported["kernel_logs"]
    assert logs["logs"] >= logs["enabled"] > 0 and not logs["ejected"]
    found = aggregate_experiment(done.experiment).verdicts
    nest = {v.criterion: v.sentence for v in found if v.scheduler == "scx_nest"}
    assert nest[GROWS].startswith("No information: every value of map_entries of contr")
    assert nest[EVICTS].startswith("No information: every value of evictions of test")
    assert "record that a scheduler was enabled" in nest[NO_CRASH]


def test_an_ejection_in_a_kernel_log_is_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(GOLDEN, source)
    log = source / "scx_simple/test/stress-ng_run1_dmesg.log"
    words = 'sched_ext: BPF scheduler "simple" disabled (runnable task stall)'
    log.write_text(f"{log.read_text()}[ 130.1] {words}\n")
    found = legacy_import.import_tree(source, tmp_path / "e").experiment
    crash = [v for v in aggregate_experiment(found).verdicts if v.criterion == NO_CRASH]
    assert {v.status for v in crash} == {FAILS}
    assert "stress-ng_run1.csv: runnable task stall" in crash[0].sentence


def test_a_file_whose_name_says_nothing_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(GOLDEN, source)
    shutil.copy(source / "scx_simple/control/stress-ng_run1.csv",
                source / "scx_simple/control/stress-ng_long.csv")  # fmt: skip
    refused = legacy_import.import_tree(source, tmp_path / "e").refused
    assert "scx_simple/control/stress-ng_long.csv" in {r.file for r in refused}


def tree(path: Path, lengths: dict[str, int]) -> Path:
    for name, seconds in lengths.items():
        file = path / "scx_simple" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = b"".join(b"%d,%d,9,9,1\n" % (t, t + 1) for t in range(0, seconds + 1, 2))
        file.write_bytes(HEADER + rows)
    return path


def test_a_run_is_as_long_as_the_longest_of_its_cell(tmp_path: Path) -> None:
    names = {f"{v}/w_run{n}.csv": 60 for v in ("control", "test") for n in (1, 2, 3)}
    source = tree(tmp_path / "s", {**names, "test/w_run2.csv": 12})
    found = aggregate_experiment(
        legacy_import.import_tree(source, tmp_path / "e").experiment
    )
    (aside,) = found.data.set_aside
    assert "cover 12.0 s of 60 s" in aside.reason


def test_a_number_that_is_spelt_in_two_ways_is_one_run(tmp_path: Path) -> None:
    source = tree(tmp_path / "s", {"test/w_run1.csv": 20, "test/w_run01.csv": 20})
    done = legacy_import.import_tree(source, tmp_path / "e")
    assert done.runs == 1
    assert "already" in done.refused[0].reason


def test_numbers_without_end_are_refused() -> None:
    with pytest.raises(FormatError, match="without end"):
        legacy_import.read(HEADER + b"0,1,2,3,4\n" + b"9" * 400 + b",1,2,3,4\n")


def test_importing_again_changes_nothing(done: legacy_import.Imported) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.experiment.path.rglob("*.json")}
    manifest = done.experiment.manifest_path
    legacy_import.import_tree(GOLDEN, done.experiment.path)
    for path, time_ns in before.items():
        assert path == manifest or path.stat().st_mtime_ns == time_ns


def test_the_source_stays_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(GOLDEN, source)
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    legacy_import.import_tree(source, tmp_path / "e")
    assert {p: p.read_bytes() for p in source.rglob("*") if p.is_file()} == before


def test_a_tree_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c_run1.csv").write_bytes(HEADER + b"0,1,2,3,4\n")
    with pytest.raises(ConfigError, match="give the directory"):
        legacy_import.import_tree(tmp_path, tmp_path / "e")
    assert not Experiment(tmp_path / "e").manifest_path.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "empty"),
        (b"a,b\n1,2\n", "first line"),
        (HEADER + b"0,1,2,3,4\n", "1 samples"),
        (HEADER + b"0,1,2,3,4\n2,,2,3,4\n", "no number"),
        (HEADER + b"0,1,2,3,4\n2,-1,2,3,4\n", "no number"),
        (HEADER + b"0,1,2,3,4\n2,1,2,3,4,5\n", "6 cells"),
        (HEADER + b"5,1,2,3,4\n2,1,2,3,4\n", "clock"),
        (HEADER + b"5,1,2,3,4\n5,1,2,3,4\n", "same second"),
        (HEADER + b"\xff\xfe", "not text"),
    ],
)
def test_a_corrupt_file_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        legacy_import.read(text)


def test_a_number_cut_at_the_end_is_left_out() -> None:
    """`12` of a line that was cut may have been 12345."""
    found = legacy_import.read(HEADER + b"0,1,2,3,4\n2,5,2,3,4\n4,6,2,3,12")
    assert [row[0] for row in found.rows] == [0, 2]
    assert len(found.flags) == 1


@pytest.mark.parametrize(
    ("log", "entries"),
    [
        (b"", None),
        (b"[ 1.0] something else evicted 5\n", None),
        (b"[ 1.0] Map cleanup: evicted 5 stale entries\n", 5),
        (b"[ 1.0] Map cleanup: timeout after evicted 7 entries\n", 7),
        (b"x Map cleanup: evicted 5 stale entries\n" * 3, 15),
        (b"Map cleanup: scan completed, no entries evicted\n", None),
    ],
)
def test_entries_in_the_kernel_log(log: bytes, entries: int | None) -> None:
    assert legacy_import.evicted_entries(log) == entries
