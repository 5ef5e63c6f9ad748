# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's dump as the tracer hands it over, and what there is without a tracer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.kernel import scx_dump
from experiments.kernel.scx_dump import MOST_BYTES, ScxDump

LINES = """\
  kworker/u8:2-30      [001] d.h1.    17.63: sched_ext_dump: CPU states
CPU:0 [LOST 3 EVENTS]
  kworker/u8:2-30      [001] d.h1.    17.63: sched_ext_dump:   R sh[9] -2788ms
  kworker/u8:2-30      [001] d.h1.    17.64: sched_ext_dump: <a name>: sched_ext_dump: x
"""


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What tracefs makes of a new directory, as far as it is written to and read."""
    monkeypatch.setattr(scx_dump, "TRACEFS", tmp_path)
    made = tmp_path / "instances" / f"scxlab-{os.getpid()}"
    made.parent.mkdir()

    def mkdir(path: Path, exist_ok: bool) -> None:
        assert path == made
        os.makedirs((path / scx_dump._ENABLE).parent)  # noqa: PTH103 - Path's is this
        os.mkfifo(path / "trace_pipe")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return made


def test_the_tracers_own_columns_are_left_out(instance: Path) -> None:
    with ScxDump() as dump:
        assert dump.missing == ""
        assert (instance / scx_dump._ENABLE).read_text() == "1"
        with (instance / "trace_pipe").open("wb") as writer:
            writer.write(LINES.encode())
            writer.flush()
            assert dump.text() == (
                "CPU states\n  R sh[9] -2788ms\n<a name>: sched_ext_dump: x\n"
            )
            assert dump.text() == ""


def test_a_dump_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = ScxDump()
    monkeypatch.setattr(os, "read", lambda fd, size: b"x" * size)
    dump._pipe = 7
    assert sum(map(len, dump._chunks())) == MOST_BYTES


def test_without_a_tracer_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scx_dump, "TRACEFS", tmp_path / "nowhere")
    with ScxDump() as dump:
        assert "cannot be traced" in dump.missing and "nowhere" in dump.missing
        assert dump.text() == ""
