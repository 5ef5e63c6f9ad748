# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from experiments import registry
from experiments.model import RunSpec, Variant
from experiments.plan import blocks, config, knobs
from experiments.plan.config import Config


def make(seed: int = 1, iterations: int = 3, **raw: object) -> tuple[RunSpec, ...]:
    settings = {"schema": 1, "seed": seed, "iterations": iterations, **raw}
    return blocks.build_plan(config.parse_config(settings, "test")).specs


def variants(settings: Config) -> dict[str, Variant]:
    return {variant.name: variant for variant in blocks.variants(settings)}


def test_same_config_same_plan() -> None:
    assert make(workloads=["all"]) == make(workloads=["all"])


def test_another_seed_another_order() -> None:
    orders = {tuple(s.variant for s in make(seed, 8)) for seed in range(8)}
    assert len(orders) > 1


@given(st.integers(0, 2**63 - 1), st.integers(1, 12))
def test_blocks_hold_one_of_each_arm_side_by_side(seed: int, iterations: int) -> None:
    specs = make(seed, iterations, workloads=["all"])
    assert len(specs) == 2 * len(registry.names("workload")) * iterations
    pairs = list(zip(specs[::2], specs[1::2], strict=True))
    for a, b in pairs:
        assert {a.variant, b.variant} == {"control", "test"}
        same = dataclasses.replace(a, variant=b.variant, cleanup=b.cleanup)
        assert same == b
    cells = Counter((s.workload, s.run, s.variant) for s in specs)
    assert set(cells.values()) == {1}


def test_first_arm_of_a_block_is_random() -> None:
    first = Counter(s.variant for s in make(3, 200)[::2])
    assert 60 < first["control"] < 140  # p < 1e-8 for a fair coin to leave this


def test_run_ids_name_runs_apart_and_stay() -> None:
    specs = make(workloads=["all"])
    assert len({s.run_id for s in specs}) == len(specs)
    known = RunSpec(
        "scx_simple", "control", "none", "hackbench", 1, 1, 7, 30, 2.0, {"a": 1}, {}
    )
    assert known.run_id == "0de8a9fea9fc", "old results would no longer be found"
    assert known.run_id != dataclasses.replace(known, seed=8).run_id


def test_one_strategy_is_test() -> None:
    settings = config.parse_config({"schema": 1}, "test")
    arms = variants(settings)
    assert {name: arm.cleanup for name, arm in arms.items()} == {
        "control": "none",
        "test": "scan",
    }


def test_a_sweep_is_an_arm_for_every_combination_against_one_control() -> None:
    raw = {"schema": 1, "sweep": {"max_age_ms": [1000, 2000], "budget_us": [100, 500]}}
    arms = variants(config.parse_config(raw, "test"))
    assert len(arms) == 5
    arm = arms["test-max_age_ms1000-budget_us500"]
    assert (arm.knobs["max_age_ms"], arm.knobs["budget_us"]) == (1000, 500)
    assert arms["control"].knobs == config.load_config().all_knobs()


def test_several_strategies_bear_their_names() -> None:
    arms = variants(config.parse_config({"schema": 1, "cleanups": ["all"]}, "test"))
    assert set(arms) == {"control", *(f"test-{c}" for c in knobs.CLEANUPS)}


def test_none_is_the_control_which_is_there_anyway() -> None:
    alone = variants(config.parse_config({"schema": 1, "cleanups": ["none"]}, "test"))
    assert set(alone) == {"control"}
    beside = {"schema": 1, "cleanups": ["none", "exit"]}
    assert set(variants(config.parse_config(beside, "test"))) == {
        "control",
        "test",
    }


def test_the_ledger_sets_samplers_against_none() -> None:
    raw = {"schema": 1, "treatment": "samplers", "samplers": ["cpu", "proc-events"]}
    settings = config.parse_config(raw, "test")
    arms = variants(settings)
    chosen = {name: arm.samplers for name, arm in arms.items()}
    assert chosen["control"] == ()
    assert chosen["test-cpu"] == ("cpu",)
    assert set(chosen["test-all"] or ()) > set(chosen["test-default"] or ())
    assert {arm.cleanup for arm in arms.values()} == {"none"}
    assert blocks.build_plan(settings).specs[0].samplers is not None


def test_samplers_by_default_are_not_in_the_spec() -> None:
    """So that a result does not depend on how its samplers were asked for."""
    plain = blocks.build_plan(config.parse_config({"schema": 1}, "test"))
    names = list(config.default_samplers())
    named = blocks.build_plan(
        config.parse_config({"schema": 1, "samplers": names}, "test")
    )
    assert named == plain
    assert plain.specs[0].samplers is None
    fewer = config.parse_config({"schema": 1, "samplers": names[1:]}, "test")
    assert blocks.build_plan(fewer).plan_id != plain.plan_id


def test_settings_of_read_only_data_are_part_of_what_a_run_is() -> None:
    plain, same, other = make(), make(settings={}), make(settings={"slice_ns": 5})
    assert [s.run_id for s in plain] == [s.run_id for s in same]
    assert {s.run_id for s in plain}.isdisjoint(s.run_id for s in other)
    assert all(s.knobs["set.slice_ns"] == 5 for s in other)


def test_the_settings_of_a_users_scheduler_reach_its_builds(tmp_path: Path) -> None:
    (tmp_path / "mine.bpf.c").write_text("")
    asked = {"schema": 1, "schedulers": [str(tmp_path / "mine.bpf.c")]}
    parsed = config.parse_config({**asked, "settings": {"slice_ns": 5}}, "test")
    plan = blocks.build_plan(parsed)
    assert [b.variant.settings for b in plan.builds] == [{"slice_ns": 5}] * 2
    assert {s.variant: s.knobs["treatment"] for s in plan.specs} == {
        "control": 0,
        "test": 1,
    }
    assert (
        blocks.build_plan(config.parse_config(asked, "test")).builds[0].variant.settings
        == {}
    )
