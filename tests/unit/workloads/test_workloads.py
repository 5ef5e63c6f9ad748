# SPDX-License-Identifier: GPL-2.0-only
"""What the workloads are told, and what is read out of what they print."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import registry
from experiments.errors import ConfigError
from experiments.model import Round, RunSpec
from experiments.plugins import Workload

OUTPUTS = Path(__file__).parents[2] / "golden/outputs"


def spec_for(workload: Workload, duration_s: int = 30) -> RunSpec:
    params = {name: p.default for name, p in workload.parameters.items()}
    return RunSpec(
        "s", "control", "none", workload.name, 1, 1, 42, duration_s, 2.0, params, {}
    )


def rounds_of(name: str, times: int = 1) -> list[Round]:
    return [Round(0, (OUTPUTS / name).read_text(), 1.0)] * times


def metrics(name: str, rounds: list[Round]) -> dict[str, tuple[float, str, bool]]:
    workload = registry.workload(name)
    found = workload.parse(spec_for(workload), rounds)
    return {m.name: (m.value, m.unit, m.lower_is_better) for m in found}


def test_stress_ng_forks_a_second_of_real_time() -> None:
    found = metrics("stress-ng", rounds_of("stress-ng.txt"))
    assert found == {"forks": (521.72, "1/s", False)}


def test_hackbench_seconds_a_round() -> None:
    found = metrics("hackbench", rounds_of("hackbench.txt", 3))
    assert found["round_time"] == (2.762, "s", True)


def test_hackbench_without_a_whole_round_has_no_number() -> None:
    with pytest.raises(ValueError, match="no round of hackbench ended within 30 s"):
        metrics("hackbench", [])


def test_churn_reports_the_rate_it_reached() -> None:
    found = metrics("custom-churn", rounds_of("churn.txt"))
    assert found["spawns"] == (203.33, "1/s", False)
    assert found["overrun_p99"] == (0.975, "ms", True)


@pytest.mark.parametrize("name", registry.names("workload"))
@given(text=st.text(max_size=60))
def test_garbage_is_an_error_and_never_a_number(name: str, text: str) -> None:
    with pytest.raises(ValueError):
        metrics(name, [Round(0, text, 1.0)])


def test_hackbench_is_told_groups_not_pipes() -> None:
    workload = registry.workload("hackbench")
    argv = workload.argv(spec_for(workload), Path("/bin"))
    assert argv == ("hackbench", "-g", "4", "-l", "30")


def test_churn_is_told_rate_burst_life_time_duration_and_seed() -> None:
    workload = registry.workload("custom-churn")
    argv = workload.argv(spec_for(workload, 7), Path("/x"))
    assert argv == ("/x/churn", "200", "10", "50", "7", "42")


def test_churn_not_built_is_a_reason() -> None:
    workload = registry.workload("custom-churn")
    assert "invoke build" in workload.missing(Path("/nowhere"))[0]


@pytest.mark.parametrize("kind", ["workload", "sampler", "loader", "backend"])
def test_everything_registered_bears_its_own_name(kind: str) -> None:
    for name in registry.names(kind):
        assert getattr(registry, kind)(name).name == name


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'hackbench'.*stress-ng"):
        registry.workload("hackbenc")
