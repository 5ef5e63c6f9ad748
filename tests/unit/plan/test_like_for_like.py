# SPDX-License-Identifier: GPL-2.0-only
"""Control and test come from one source, and the knobs are what the C says they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.plan import config, knobs, scheduler_source

PROJECT = Path(__file__).parents[3]
SCHEDULERS = PROJECT / "schedulers"
C_SOURCES = sorted(SCHEDULERS.rglob("*.[ch]"))


@pytest.mark.parametrize("name", scheduler_source.names())
def test_the_test_variant_is_the_control_with_the_treatment(name: str) -> None:
    text = (SCHEDULERS / "test" / f"{name}.bpf.c").read_text()
    assert text.splitlines() == [
        "// SPDX-License-Identifier: GPL-2.0-only",
        "#define TREATMENT 1",
        f'#include "../control/{name}.bpf.c"',
    ]


def test_every_control_has_a_test_and_the_other_way_round() -> None:
    tests = {p.name for p in (SCHEDULERS / "test").glob("*.bpf.c")}
    assert tests == {p.name for p in (SCHEDULERS / "control").glob("*.bpf.c")}


def test_treatment_changes_nothing_but_the_cleanup() -> None:
    """No scheduler asks for it; strategy.bpf.h alone does, once."""
    for path in C_SOURCES:
        if path.parent.name != "test":
            uses = re.findall(r"^#.*\bTREATMENT\b", path.read_text(), re.MULTILINE)
            assert bool(uses) == (path.name == "strategy.bpf.h"), path


def evaluate(expression: str) -> int:
    """An integer expression of C, of literals and shifts."""
    assert re.fullmatch(r"[\d<\s()]+", expression), expression
    return int(eval(expression))


@pytest.mark.parametrize("name", knobs.KNOBS)
def test_defaults_and_bounds_are_those_of_the_source(name: str) -> None:
    macro, knob = name.upper(), knobs.KNOBS[name]
    text = "\n".join(p.read_text() for p in C_SOURCES)
    default = re.search(rf"#ifndef {macro}\n#define {macro} (\S+)", text)
    assert default is not None and int(default[1]) == int(knob.default)
    boolean = re.search(rf"_Static_assert\({macro} == 0 \|\| {macro} == 1", text)
    if boolean:
        assert (knob.low, knob.high) == (0, 1) and isinstance(knob.default, bool)
        return
    bounds = re.search(
        rf"_Static_assert\({macro} >= (\S+) && {macro} <= ([^,]+),", text
    )
    assert bounds is not None
    assert (evaluate(bounds[1]), evaluate(bounds[2])) == (knob.low, knob.high)


@pytest.mark.parametrize("name", knobs.CLEANUPS)
def test_every_strategy_says_what_it_is_and_reads(name: str) -> None:
    strategy = knobs.CLEANUPS[name]
    assert strategy.summary
    assert set(strategy.reads) <= set(knobs.KNOBS)


def test_strategies_that_are_added_follow_those_of_old_plans(tmp_path: Path) -> None:
    (tmp_path / "age.bpf.h").write_text(STRATEGY)
    (tmp_path / "none.bpf.h").write_text("")
    for name in reversed(list(knobs.CLEANUPS)):
        file = SCHEDULERS / f"include/strategies/{name}.bpf.h"
        (tmp_path / file.name).write_text(file.read_text())
    found = knobs.strategies(tmp_path)
    old = ["scan", "kfunc", "timer", "exit", "lru", "storage"]
    assert list(found) == [*old, "age"]
    assert found["age"] == ("the oldest one leaves", ("max_age_ms", "fifo"), True)
    assert found["exit"] == knobs.CLEANUPS["exit"]


STRATEGY = """/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * age: the oldest one leaves
 *
 * Reads: max_age_ms, fifo
 * Needs: census
 */
"""


def test_the_config_file_spells_out_every_knob() -> None:
    assert set(config.load_config().knobs) == set(knobs.KNOBS)


@pytest.mark.parametrize(
    "path",
    sorted(
        p
        for pattern in ("*.py", "*.c", "*.h", "*.yaml", "*.toml", "*.j2")
        for folder in (
            "",
            "experiments",
            "workloads",
            "schedulers",
            "analysis",
            "tests",
        )
        for p in (
            PROJECT.glob(pattern) if not folder else (PROJECT / folder).rglob(pattern)
        )
    ),
    ids=lambda p: str(p.relative_to(PROJECT)),
)
def test_every_file_bears_its_licence(path: Path) -> None:
    assert "SPDX-License-Identifier: GPL-2.0-only" in path.read_text()[:200]
