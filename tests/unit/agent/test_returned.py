# SPDX-License-Identifier: GPL-2.0-only
"""What a guest says may be anything; what is taken of it is sound."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.agent import returned
from experiments.columns import CSV_COLUMNS
from experiments.errors import FormatError
from experiments.model import Outcome, RunResult
from tests.unit.agent.test_protocol import SPEC

RIGHT: dict[str, Any] = {
    "outcome": "OK",
    "reason": "",
    "metrics": [
        {"name": "forks", "value": 2.5, "unit": "1/s", "lower_is_better": False}
    ],
    "proof": {"before": {"ops": "x"}},
    "facts": {"wall_s": 3.0},
}
METRIC = RIGHT["metrics"][0]


def read(**other: Any) -> RunResult:
    return returned.result(json.dumps({**RIGHT, **other}).encode(), SPEC, {"boot": 1})


def test_a_right_one_is_taken() -> None:
    found = read()
    assert found.outcome is Outcome.OK
    assert found.facts == {"wall_s": 3.0, "boot": 1}
    assert [m.value for m in found.metrics] == [2.5]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"outcome": "LOST"}, "outcome"),
        ({"outcome": "FINE"}, "outcome"),
        ({"outcome": 7}, "outcome"),
        ({"reason": None}, "reason"),
        ({"more": 1}, "more"),
        ({"metrics": {"forks": 1}}, "metrics"),
        ({"metrics": [{**METRIC, "value": "9"}]}, "metrics.0.value"),
        ({"metrics": [{**METRIC, "value": float("nan")}]}, "NaN"),
        ({"metrics": [{**METRIC, "value": float("inf")}]}, "Infinity"),
        ({"metrics": [{**METRIC, "name": "../../etc/passwd"}]}, "metrics.0.name"),
        ({"metrics": [{**METRIC, "name": "[/x]"}]}, "metrics.0.name"),
        ({"metrics": [{**METRIC, "name": "a" * 200}]}, "metrics.0.name"),
        ({"metrics": [METRIC] * 501}, "metrics"),
        ({"proof": []}, "proof"),
        ({"facts": "none"}, "facts"),
        ({"facts": {"flags": 7}}, "list"),
        ({"facts": {"boot": 7}}, "cannot know"),
        ({"facts": {"lost_attempts": 0}}, "cannot know"),
        ({"facts": {"n": 1 << 70}}, "larger"),
    ],
)
def test_what_is_wrong_is_named(other: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read(**other)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[" * 100_000,
        b'{"event":' * 50_000,
        b"[" * 20 + b"]" * 20,
        b'{"event": 7}',
        b'{"event": "' + b"9" * 10,
        b"1" * 5000,
        b'{"a": 1e999}',
        b"\xff\xfe",
    ],
)
def test_no_json_is_no_event(payload: bytes) -> None:
    with pytest.raises(FormatError):
        returned.event(payload)


def test_lists_deep_in_each_other_are_refused() -> None:
    with pytest.raises(FormatError, match="deep"):
        read(facts={"x": json.loads("[" * 40 + "]" * 40)})


def test_what_a_terminal_obeys_is_written_out() -> None:
    found = read(reason="\x1b]0;gone\x07 \u202eabc", facts={"\x1b[2J": ["\x9bA", "ok"]})
    assert found.reason == r"\x1b]0;gone\x07 \u202eabc"
    assert found.facts == {r"\x1b[2J": [r"\x9bA", "ok"], "boot": 1}


FULL = ",".join(CSV_COLUMNS).encode()
HEADER = b"timestamp,map_entries,free_mem_kb,slab_bpf_kb,evictions"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"", "header"),
        (b"timestamp\n0\n", "header"),
        (FULL + b",../x\n", "column"),
        (FULL + b",\x1b[2J\n", "column"),
        (FULL + b",x" * 600 + b"\n", "header"),
        (HEADER + b"\n1,2,3\n", "number"),
        (HEADER + b"\n1,2,3,4,x\n", "number"),
        (HEADER + b"\n1,2,3,4,=1+1\n", "number"),
        (HEADER + b"\n1,2,3,4,5", "number"),
        (HEADER + b'\n"1",2,3,4,5\n', "number"),
    ],
)
def test_what_is_no_table_is_named(table: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        returned.samples(table)


def test_a_table_is_taken() -> None:
    table = HEADER + b"\n0.000,1,,2.5e+06,-3\n"
    assert returned.samples(table) == table


@given(st.binary(max_size=300))
def test_bytes_are_a_result_or_refused(payload: bytes) -> None:
    for read_it in (returned.event, returned.json_object):
        try:
            read_it(payload)
        except FormatError:
            continue


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(RIGHT, _JSON)))
def test_json_is_a_result_that_can_be_stored_or_refused(other: dict[str, Any]) -> None:
    try:
        found = read(**other)
    except FormatError:
        return
    assert json.loads(json.dumps(found.facts, allow_nan=False)) == found.facts
    assert found.outcome is not Outcome.LOST
