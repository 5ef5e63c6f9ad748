# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from experiments.errors import ConfigError
from experiments.plan import blocks, config, scheduler_source


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.bpf.c", "b.bpf.c", "c.bpf.o", "d.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_ours() -> None:
    assert scheduler_source.from_text("scx_simple").is_builtin


def test_one_source_is_control_and_test_by_treatment(files: Path) -> None:
    source = scheduler_source.from_text(f"{files}/a.bpf.c")
    assert source.name == "a"
    knobs = {v.name: v.knobs for v, _ in source.own_variants()}
    assert knobs["control"]["treatment"] == 0
    assert knobs["test"]["treatment"] == 1


def test_two_files_are_control_and_test(files: Path) -> None:
    source = scheduler_source.from_text(f"{files}/a.bpf.c:{files}/c.bpf.o")
    assert source.name == "a-vs-c"
    found = {variant.name: path for variant, path in source.own_variants()}
    assert found == {"control": files / "a.bpf.c", "test": files / "c.bpf.o"}


def test_an_object_alone_has_nothing_to_be_compared_with(files: Path) -> None:
    source = scheduler_source.from_text(f"{files}/c.bpf.o")
    assert [v.name for v, _ in source.own_variants()] == ["control"]


def test_an_edited_file_is_another_experiment(files: Path) -> None:
    path = files / "a.bpf.c"
    raw = {"schema": 1, "schedulers": [str(path)]}
    before = blocks.build_plan(config.parse_config(raw, "test")).plan_id
    assert blocks.build_plan(config.parse_config(raw, "test")).plan_id == before
    path.write_text("changed")
    assert blocks.build_plan(config.parse_config(raw, "test")).plan_id != before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}/absent.bpf.c", "there is no file"),
        ("{}/d.txt", "neither a .bpf.c nor a .bpf.o"),
        ("{0}/a.bpf.c:{0}/b.bpf.c:{0}/c.bpf.o", "one file, or two"),
        ("scx_simpel", "did you mean 'scx_simple'"),
    ],
)
def test_what_is_wrong_is_named(files: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.parse_config({"schema": 1, "schedulers": [text.format(files)]}, "test")


def test_programs() -> None:
    source = scheduler_source.from_commands(["scx_a --flag 1", "/opt/scx_b"])
    assert source.name == "scx_a-vs-scx_b"
    (control, _), (test, _) = source.own_variants()
    assert control.knobs == {"command": "scx_a --flag 1"}
    assert test.knobs == {"command": "/opt/scx_b"}
    with pytest.raises(ConfigError, match="empty"):
        scheduler_source.from_commands([" "])
    with pytest.raises(ConfigError, match="quotation"):
        scheduler_source.from_commands(['scx_a "open'])
    with pytest.raises(ConfigError, match="or two"):
        scheduler_source.from_commands(["a", "b", "c"])
