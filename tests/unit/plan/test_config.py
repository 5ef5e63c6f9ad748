# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments import registry
from experiments.errors import ConfigError, ExperimentError
from experiments.plan import config, knobs


def parse(**raw: Any) -> config.Config:
    return config.parse_config({"schema": 1, **raw}, "here.yaml")


def refusal(**raw: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(**raw)
    return str(caught.value)


def test_the_file_of_the_project_is_valid_and_says_what_the_readme_runs() -> None:
    loaded = config.load_config()
    assert loaded.schedulers == ("scx_simple",)
    assert loaded.workloads == ("hackbench",)
    assert loaded.backend == "vm"


def test_flags_win() -> None:
    loaded = config.load_config(duration_s="7", workloads=("stress-ng",), seed=None)
    assert loaded.duration_s == 7
    assert loaded.workloads == ("stress-ng",)
    assert loaded.seed == config.load_config().seed


def test_kernel_flag_goes_into_the_vm_section(tmp_path: Path) -> None:
    loaded = config.load_config(kernel=str(tmp_path))
    assert loaded.vm.kernel == tmp_path
    assert loaded.vm.cpus == config.load_config().vm.cpus


def test_all_stands_for_every_name() -> None:
    assert parse(workloads=["all"]).workloads == tuple(registry.names("workload"))


def test_names_are_taken_once() -> None:
    names = ["hackbench", "stress-ng", "hackbench"]
    assert parse(workloads=names).workloads == ("hackbench", "stress-ng")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"duration": 5}, "unknown key 'duration'; did you mean 'duration_s'"),
        ({"vm": {"cpu": 2}}, "unknown key 'cpu'; did you mean 'cpus'"),
        ({"schedulers": ["scx_simpel"]}, "did you mean 'scx_simple'"),
        ({"workloads": ["hackbensh"]}, "did you mean 'hackbench'"),
        ({"cleanups": ["scam"]}, "did you mean 'scan'"),
        ({"backend": "mv"}, "unknown backend 'mv'"),
        ({"knobs": {"budget": 1}}, "did you mean 'budget_us'"),
        ({"knobs": {"budget_us": 0}}, "budget_us is 0: give 1 to 100000"),
        ({"knobs": {"budget_us": "1"}}, "give a value of type int"),
        ({"knobs": {"prealloc": 1}}, "give a value of type bool"),
        ({"workload": {"hackbench": {"group": 1}}}, "did you mean 'groups'"),
        ({"workload": {"hackbensh": {}}}, "unknown workload"),
        ({"sweep": {"max_age": [1]}}, "did you mean 'max_age_ms'"),
        ({"sweep": {"max_age_ms": []}}, "has no values"),
        ({"sweep": {"max_age_ms": [0]}}, "max_age_ms is 0"),
        ({"sweep": {"max_entries": [64]}}, "unknown setting to sweep"),
        ({"sweep": {"lru_entries": [64]}}, "means nothing to the strategy scan"),
        ({"sweep": {"budget_us": [1]}, "commands": ["x"]}, "has its own flags"),
        ({"duration_s": 0}, "duration_s"),
        ({"iterations": 0}, "iterations"),
        ({"schedulers": []}, "name at least one scheduler"),
        ({"duration_s": 1, "sample_interval_s": 2}, "at least one interval"),
        ({"schema": 2}, "schema"),
    ],
)
def test_what_is_wrong_is_named(raw: dict[str, Any], words: str) -> None:
    assert words in refusal(**raw)


def test_a_wrong_flag_is_named_as_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--duration: "):
        config.load_config(duration_s="0")


def test_sweeps_from_the_command_line() -> None:
    parsed = config.parse_sweep(["max_age_ms=1,2 budget_us=3", "period_ms=4"])
    assert parsed == {"max_age_ms": [1, 2], "budget_us": [3], "period_ms": [4]}
    repeated = config.parse_sweep(["max_age_ms=1", "max_age_ms=2"])
    assert repeated == {"max_age_ms": [1, 2]}
    assert config.parse_sweep([]) is None
    with pytest.raises(ConfigError, match="whole numbers"):
        config.parse_sweep(["max_age_ms=soon"])


def test_schedulers_on_the_command_line_win_over_programs_in_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("schema: 1\ncommands: [scx_foo]\n")
    assert config.load_config(path).commands == ("scx_foo",)
    assert config.load_config(path, schedulers=("scx_simple",)).commands == ()


def test_more_files_without_settings(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        config.load_config(path)
    path.write_text("schema: 1\nvm: 5\n")
    with pytest.raises(ConfigError, match="vm is not a section"):
        config.load_config(path, kernel="/k")


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "just words"])
def test_a_file_without_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        config.load_config(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load_config(tmp_path / "absent.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from([*config.Config.model_fields, "schema", "knob"])


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_any_yaml_gives_a_config_or_a_config_error(raw: dict[str, Any]) -> None:
    try:
        parsed = config.parse_config(raw, "here.yaml")
    except ConfigError as error:
        assert str(error)
        assert error.exit_code == 2
        return
    assert set(parsed.all_knobs()) == set(knobs.KNOBS)


def test_yaml_round_trip() -> None:
    loaded = config.load_config()
    dumped = yaml.safe_dump(loaded.model_dump(mode="json", by_alias=True))
    assert config.parse_config(yaml.safe_load(dumped), "again") == loaded


def test_config_errors_are_usage_errors() -> None:
    assert ConfigError.exit_code == 2
    assert ExperimentError.exit_code == 1


def test_settings_are_numbers_however_they_are_written() -> None:
    texts = ["a=5", "b=0x10", "c=-1", "d=true", "e=false", "a=6"]
    said = knobs.parse_settings(texts)
    assert said == {"a": 6, "b": 16, "c": -1, "d": 1, "e": 0}
    assert parse(settings=said).settings == said
    assert knobs.parse_settings([]) is None


@pytest.mark.parametrize("text", ["a", "a=", "a=b", "a=1.5", "=", "a=0x"])
def test_other_settings_are_told(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--set {text}"):
        knobs.parse_settings([text])


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a-b"])
def test_a_setting_has_the_name_of_a_variable(name: str) -> None:
    with pytest.raises(ConfigError):
        config.load_config(settings={name: 1})


def test_a_program_has_flags_and_no_settings() -> None:
    assert "--set" in refusal(commands=["scx_foo"], settings={"a": 1})


def test_settings_are_no_macros() -> None:
    made = knobs.defines("scan", {"max_entries": 64, "set.slice_ns": 5})
    assert made == ["-DMAX_ENTRIES=64", "-DCLEANUP=scan"]
