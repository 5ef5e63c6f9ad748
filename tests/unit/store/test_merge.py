# SPDX-License-Identifier: GPL-2.0-only
"""Experiments become one when they compare; pairs stay pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from analysis.aggregate import aggregate_experiment
from experiments.errors import ConfigError
from experiments.model import Outcome
from experiments.store.experiment import Experiment
from experiments.store.merge import merge
from tests.unit import analysis_fixtures as fx

FACTS = {
    **fx.MACHINE,
    "objects": {"scx_simple/control": {"sha256": "aa"}},
    "tools": {"churn": "cc"},
}
SHAPES = {"control": fx.growing(), "test": fx.plateau()}


def lab(
    root: Path, name: str, runs: int = 2, facts: Mapping[str, object] = FACTS
) -> fx.Lab:
    specs = [dataclasses.replace(s, seed=ord(name)) for s in fx.arms(runs)]
    return fx.Lab(root / name, specs, facts=facts)


def test_blocks_stay_pairs_and_are_told_apart(tmp_path: Path) -> None:
    parts = [lab(tmp_path, n, k).all_ok(SHAPES) for n, k in (("a", 2), ("b", 3))]
    merged = merge(parts, tmp_path)
    assert merged.path == tmp_path / "a+b"
    specs = merged.manifest().specs
    assert [s.block for s in specs] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [s.run for s in specs] == [s.block for s in specs]
    assert [s.variant for s in specs] == ["control", "test"] * 5
    done = aggregate_experiment(merged)
    assert done.comparisons[0].n_blocks == 5
    assert done.data.set_aside == ()
    found = {r.facts["merged_from"] for r in merged.results()}
    assert len(found) == 10
    assert "b/scx_simple/test/hackbench_run3" in found


def test_merging_until_it_is_decided_is_looking_again(tmp_path: Path) -> None:
    a, b, c = (lab(tmp_path, n, 3).all_ok(SHAPES) for n in "abc")
    first = aggregate_experiment(merge([a, b], tmp_path))
    assert {e.method for e in first.comparisons} <= {"t", ""}, "nobody has looked yet"
    again = aggregate_experiment(merge([a, b], tmp_path))
    assert again.verdicts == first.verdicts, "the same data, the same look"
    more = aggregate_experiment(merge([a, b, c], tmp_path))
    assert {e.method for e in more.comparisons} <= {"confidence sequence", ""}
    assert "after 12 runs" in more.verdicts[0].sentence


def test_every_number_is_that_of_its_part(tmp_path: Path) -> None:
    parts = [lab(tmp_path, name).all_ok(SHAPES) for name in "ab"]
    merged = merge(parts, tmp_path)
    new = iter(merged.results())
    for part in parts:
        for old in part.results():
            now = next(new)
            assert now.metrics == old.metrics
            files = merged.files(now.spec), part.files(old.spec)
            assert files[0].csv.read_bytes() == files[1].csv.read_bytes()
            assert files[0].dmesg.exists()


def test_what_comes_later_is_taken_too(tmp_path: Path) -> None:
    first, second = (lab(tmp_path, name) for name in "ab")
    first.all_ok(SHAPES)
    second.ok(second.specs[0], SHAPES["control"])
    parts = [first.experiment, second.experiment]
    assert merge(parts, tmp_path).manifest().outcomes == {"OK": 5}
    second.broken(second.specs[1], Outcome.EJECTED, "stall")
    assert merge(parts, tmp_path).manifest().outcomes == {"OK": 5, "EJECTED": 1}


def test_a_part_that_was_begun_anew_replaces_the_old(tmp_path: Path) -> None:
    first = lab(tmp_path, "a").all_ok(SHAPES)
    merge([first, lab(tmp_path, "b").all_ok(SHAPES)], tmp_path)
    (tmp_path / "b").rename(tmp_path / "old")
    again = lab(tmp_path, "b", 3).all_ok(SHAPES)
    assert merge([first, again], tmp_path).manifest().outcomes == {"OK": 10}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"kernel_sha256": "ffff"}, "kernel_sha256: 86a2 in a, ffff in b"),
        ({"accel": "kvm"}, "accel: tcg in a, kvm in b"),
        ({"vm": {"cpus": 2}}, "vm"),
        (
            {"objects": {"scx_simple/control": {"sha256": "bb"}}},
            "objects scx_simple/control sha256: aa in a, bb in b",
        ),
    ],
)
def test_unlike_facts_are_refused_with_both_values(
    tmp_path: Path, facts: Mapping[str, object], words: str
) -> None:
    parts = [lab(tmp_path, "a"), lab(tmp_path, "b", facts={**FACTS, **facts})]
    with pytest.raises(ConfigError) as error:
        merge([part.experiment for part in parts], tmp_path)
    assert words in str(error.value)
    assert not (tmp_path / "a+b").exists()


def test_objects_of_other_schedulers_are_no_difference(tmp_path: Path) -> None:
    other = {**FACTS, "objects": {"scx_nest/control": {"sha256": "dd"}}}
    parts = [lab(tmp_path, "a"), lab(tmp_path, "b", facts=other)]
    merged = merge([part.experiment for part in parts], tmp_path)
    assert set(merged.manifest().facts["objects"]) == {
        *("scx_simple/control", "scx_nest/control")
    }


def test_unlike_runs_are_refused(tmp_path: Path) -> None:
    first = lab(tmp_path, "a").experiment
    longer = [dataclasses.replace(s, duration_s=60) for s in fx.arms(2)]
    second = fx.Lab(tmp_path / "b", longer, facts=FACTS).experiment
    with pytest.raises(ConfigError, match=r"duration_s of .*: 30 in a, 60 in b"):
        merge([first, second], tmp_path)


def test_nothing_known_is_not_the_same(tmp_path: Path) -> None:
    parts = [lab(tmp_path, name, facts={}).experiment for name in "ab"]
    with pytest.raises(ConfigError, match="not known"):
        merge(parts, tmp_path)


def test_the_parts_stay_as_they_are(tmp_path: Path) -> None:
    parts = [lab(tmp_path, name).all_ok(SHAPES) for name in "ab"]

    def files(part: Experiment) -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in part.path.rglob("*") if p.is_file()}

    before = [files(part) for part in parts]
    aggregate_experiment(merge(parts, tmp_path))
    assert [files(part) for part in parts] == before
