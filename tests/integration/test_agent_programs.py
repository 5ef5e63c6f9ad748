# SPDX-License-Identifier: GPL-2.0-only
"""Schedulers that are programs, on a real kernel."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.model import BuiltObject
from tests.integration.conftest import CHURN, samples, spawned

if TYPE_CHECKING:
    from tests.integration.conftest import Lab


def as_program(lab: Lab, tmp_path: Path, script: str) -> BuiltObject:
    """Return a program that carries its object and loads it."""
    text = base64.encodebytes(lab.scheduler().path.read_bytes()).decode()
    program = tmp_path / "scx_program"
    program.write_text(script.replace("@OBJECT@", text))
    program.chmod(0o755)
    return BuiltObject(
        path=program,
        sha256="",
        ops_name="",
        cleanup="own",
        tasks_map="",
        counters_map="",
        counters={},
        record={},
        loader="program",
        arguments=("--flag",),
    )


def test_a_program_as_scheduler(
    lab: Lab, tmp_path: Path, residue_of_control: str
) -> None:
    """It unloads on SIGINT."""
    built = as_program(lab, tmp_path, PROGRAM)
    result, out_dir = lab.churn(built, 500, 3, **CHURN)
    assert result["outcome"] == "OK", result["reason"]
    assert result["facts"]["map"] == "tasks"
    entries = samples(out_dir)["map_entries"].iloc[-1]
    assert entries > 0.5 * spawned(result, out_dir)
    assert "pins_removed" not in result["facts"]
    assert lab.residue() == residue_of_control


def test_what_a_program_leaves_pinned_is_removed(
    lab: Lab, tmp_path: Path, residue_of_control: str
) -> None:
    """The pin of its link would keep its scheduler in charge."""
    built = as_program(lab, tmp_path, LITTERING)
    result, _ = lab.run("misbehave", built, 2, 1.0, how="well")
    assert result["outcome"] == "OK", result["reason"]
    assert result["facts"]["pins_removed"] == [
        "/sys/fs/bpf/litter/deep/tasks",
        "/sys/fs/bpf/program/simple_ops",
    ]
    assert lab.residue() == residue_of_control


PROGRAM = """#!/bin/sh
set -e
base64 -d > /tmp/program.bpf.o <<'END'
@OBJECT@END
bpftool struct_ops register /tmp/program.bpf.o /sys/fs/bpf/program
trap 'rm -r /sys/fs/bpf/program; exit 0' INT
while :; do sleep 0.1; done
"""


LITTERING = PROGRAM.replace(
    "trap 'rm -r /sys/fs/bpf/program; exit 0' INT",
    """
mkdir -p /sys/fs/bpf/litter/deep
bpftool map pin name tasks /sys/fs/bpf/litter/deep/tasks
trap 'exit 0' INT
""",
)


assert LITTERING != PROGRAM


def test_a_program_that_loads_nothing_is_told_in_its_words(
    lab: Lab, tmp_path: Path
) -> None:
    program = tmp_path / "scx_program"
    program.write_text("#!/bin/sh\necho no such flag >&2\nexit 2\n")
    program.chmod(0o755)
    known: dict[str, Any] = {
        "counters_map": "",
        "counters": {},
        "record": {},
        "loader": "program",
    }
    built = BuiltObject(program, "", "", "own", "", **known)
    result, _ = lab.run("misbehave", built, 1, 1.0, how="well")
    assert result["outcome"] == "FAILED"
    assert "no such flag" in result["reason"]
