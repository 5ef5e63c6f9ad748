# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analysis.aggregate import aggregate_experiment
from analysis.compare import stopping_rule
from analysis.compare.noise import newest_noise
from analysis.stats import power
from experiments.commands import calibrate
from experiments.errors import ConfigError
from experiments.model import CONTROL, Metric, Outcome, Plan, RunResult
from experiments.plan import config
from experiments.plan.blocks import build_plan
from experiments.store.experiment import Experiment

FACTS = {
    "kernel_sha256": "k",
    "accel": "tcg",
    "vm": {"cpus": 2, "memory_mb": 2048},
    "host": {"cpu": "c", "cpus": 2},
}
CSV = "timestamp,map_entries,free_mem_kb,slab_bpf_kb,evictions\n" + "".join(
    f"{t}.000,{10 * t},1000,100,0\n" for t in range(0, 31, 2)
)


def finish(
    experiment: Experiment, planned: Plan, ratio: float, sd: float, blocks: int
) -> None:
    """Runs of the first blocks: test takes `ratio` as long as control."""
    rng = np.random.default_rng(4)
    for spec in planned.specs:
        if spec.block > blocks:
            continue
        value = math.exp(sd * rng.standard_normal())
        if spec.variant != CONTROL:
            value *= ratio
        attempt = experiment.new_attempt(spec)
        (attempt / "samples.csv").write_text(CSV)
        (attempt / "dmesg.log").write_text("")
        metrics = (Metric("round_time", value, "s", True),)
        result = RunResult(spec, spec.run_id, Outcome.OK, "", metrics)
        experiment.finish(result, attempt)


def made(
    path: Path, settings: dict[str, object], ratio: float, sd: float, blocks: int = 99
) -> Experiment:
    planned = build_plan(config.parse_config({"schema": 1, **settings}, "test"))
    experiment = Experiment.create(path, planned, settings, FACTS)
    finish(experiment, planned, ratio, sd, blocks)
    return experiment


def test_the_noise_is_that_of_the_ratios(tmp_path: Path) -> None:
    settings: dict[str, object] = {"treatment": "none", "iterations": 40}
    experiment = made(tmp_path / "aa-x", settings, 1.0, 0.02)
    found = aggregate_experiment(experiment)
    assert found.verdicts == ()
    assert found.is_aa and found.noise is not None
    (row,) = found.noise.table.to_dict("records")
    assert row["n_blocks"] == 40
    # The ratio of two runs scatters by sqrt(2) of one
    assert row["sd_percent"] == pytest.approx(100 * 0.02 * math.sqrt(2), rel=0.25)
    assert row["direction"] in ("equivalent", "unclear")
    assert row["sd_percent"] < row["sd_limit_percent"] < 1.3 * row["sd_percent"]
    needed = power.blocks_needed(row["sd_limit_percent"] / 100, 1.03)
    assert row["blocks_for_3_percent"] == needed
    assert (tmp_path / "aa-x/noise.csv").exists()
    page = found.report.read_text()
    assert "The noise of this machine" in page
    assert "levels off" not in page


def test_other_experiments_of_the_machine_carry_it(tmp_path: Path) -> None:
    settings: dict[str, object] = {"treatment": "none", "iterations": 4}
    made(tmp_path / "aa-x", settings, 1.0, 0.02)
    other = made(tmp_path / "e", {"iterations": 3}, 1.0, 0.02)
    assert "aa-x" in aggregate_experiment(other).report.read_text()
    assert newest_noise(tmp_path, FACTS | {"accel": "kvm"}) is None


def test_without_noise_the_report_says_what_to_type(tmp_path: Path) -> None:
    page = aggregate_experiment(
        made(tmp_path / "e", {"iterations": 3}, 1.0, 0.02)
    ).report
    assert "invoke noise" in page.read_text()


@pytest.mark.parametrize(
    ("ratio", "sd", "blocks", "known"),
    [
        (1.30, 0.01, 12, True),
        (1.00, 0.002, 12, True),
        (1.00, 0.10, 12, False),
        (1.30, 0.01, 2, False),
    ],
)
def test_a_cell_is_decided_when_its_effect_is_known(
    tmp_path: Path, ratio: float, sd: float, blocks: int, known: bool
) -> None:
    settings: dict[str, object] = {"until_decided": True, "iterations": 12}
    experiment = made(tmp_path / "e", settings, ratio, sd, blocks)
    spec = experiment.manifest().specs[0]
    assert stopping_rule.is_decided(experiment, spec) is known
    (effect,) = [
        c
        for c in aggregate_experiment(experiment).comparisons
        if c.source == "workload"
    ]
    assert (effect.direction != "unclear") is known


@pytest.mark.parametrize(
    ("blocks", "known"), [(3, False), (4, True), (5, True), (7, True)]
)
def test_with_planned_looks_it_is_asked_only_there(
    tmp_path: Path, blocks: int, known: bool
) -> None:
    """Of 12 blocks with 3 looks: after 4, 8 and 12; what was decided stays so."""
    settings: dict[str, object] = {"until_decided": True, "iterations": 12, "looks": 3}
    experiment = made(tmp_path / "e", settings, 1.3, 0.01, blocks)
    spec = experiment.manifest().specs[0]
    assert stopping_rule.is_decided(experiment, spec) is known
    experiment.update(facts=FACTS | {"blocks_not_needed": list(range(blocks + 1, 13))})
    (effect,) = [
        c
        for c in aggregate_experiment(experiment).comparisons
        if c.source == "workload"
    ]
    assert effect.method == "group-sequential t"
    assert effect.direction == "worse"


def test_a_plan_that_cannot_find_the_effect_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, object] = {"treatment": "none", "iterations": 8}
    made(tmp_path / "aa-x", settings, 1.0, 0.03)
    noise = newest_noise(tmp_path, FACTS)
    monkeypatch.setattr(calibrate, "_noise", lambda config: noise)
    few = config.parse_config({"schema": 1, "iterations": 3}, "test")
    with pytest.raises(ConfigError, match="hackbench needs"):
        list(calibrate.check_power(few, "3%"))
    many = config.parse_config({"schema": 1, "iterations": 200}, "test")
    assert "blocks find 3% of round_time" in next(calibrate.check_power(many, "3%"))
    with pytest.raises(ConfigError, match="counts as none"):
        list(calibrate.check_power(many, "2%"))
    for wrong in ("3", "-3%", "0%", "three"):
        with pytest.raises(ConfigError, match="per cent"):
            list(calibrate.check_power(many, wrong))


def test_blocks_that_were_not_needed_are_not_missed(tmp_path: Path) -> None:
    settings: dict[str, object] = {"until_decided": True, "iterations": 12}
    experiment = made(tmp_path / "e", settings, 1.3, 0.01, blocks=6)
    pending = aggregate_experiment(experiment)
    experiment.update(facts=FACTS | {"blocks_not_needed": list(range(7, 13))})
    done = aggregate_experiment(experiment)
    claims = {v.criterion: v for v in pending.verdicts}
    assert claims["no crash or ejection"].status == "undecided"
    claims = {v.criterion: v for v in done.verdicts}
    assert claims["no crash or ejection"].status == "holds"
    assert claims["no crash or ejection"].runs == "control 6/6, test 6/6"
    assert "NOT NEEDED" in done.report.read_text()


@pytest.mark.parametrize("name", ["mine", "aa-1"])
@pytest.mark.parametrize("treatment", ["none", "cleanup"])
def test_what_an_experiment_is_its_manifest_says_and_not_its_name(
    tmp_path: Path, name: str, treatment: str
) -> None:
    settings: dict[str, object] = {"treatment": treatment, "iterations": 3}
    found = aggregate_experiment(made(tmp_path / name, settings, 1.0, 0.02))
    assert found.is_aa == (treatment == "none")
    assert bool(found.verdicts) == (treatment == "cleanup")
    assert (tmp_path / name / "noise.csv").exists() == found.is_aa
