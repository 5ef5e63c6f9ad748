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
    assert scheduler_source.of("scx_simple").is_ours


def test_one_source_is_control_and_test_by_treatment(files: Path) -> None:
    source = scheduler_source.of(f"{files}/a.bpf.c")
    assert source.name == "a"
    knobs = {variant: arm.knobs for variant, arm in source.arms().items()}
    assert knobs["control"]["treatment"] == 0
    assert knobs["test"]["treatment"] == 1


def test_two_files_are_control_and_test(files: Path) -> None:
    source = scheduler_source.of(f"{files}/a.bpf.c:{files}/c.bpf.o")
    assert source.name == "a-vs-c"
    assert source.file("control") == files / "a.bpf.c"
    assert source.file("test") == files / "c.bpf.o"


def test_an_object_alone_has_nothing_to_be_compared_with(files: Path) -> None:
    assert set(scheduler_source.of(f"{files}/c.bpf.o").arms()) == {"control"}


def test_an_edited_file_is_another_experiment(files: Path) -> None:
    path = files / "a.bpf.c"
    raw = {"schema": 1, "schedulers": [str(path)]}
    before = blocks.build(config.parse(raw, "test")).plan_id
    assert blocks.build(config.parse(raw, "test")).plan_id == before
    path.write_text("changed")
    assert blocks.build(config.parse(raw, "test")).plan_id != before


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
        config.parse({"schema": 1, "schedulers": [text.format(files)]}, "test")


def test_programs() -> None:
    source = scheduler_source.of_commands(["scx_a --flag 1", "/opt/scx_b"])
    assert source.name == "scx_a-vs-scx_b"
    assert source.arms()["control"].knobs == {"command": "scx_a --flag 1"}
    with pytest.raises(ConfigError, match="empty"):
        scheduler_source.of_commands([" "])
    with pytest.raises(ConfigError, match="quotation"):
        scheduler_source.of_commands(['scx_a "open'])
    with pytest.raises(ConfigError, match="or two"):
        scheduler_source.of_commands(["a", "b", "c"])
