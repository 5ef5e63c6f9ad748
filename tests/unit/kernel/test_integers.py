# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of C in read-only data: what they can hold, and that they come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import ConfigError
from experiments.kernel.integers import Integer, check_settings

KNOWN = {"slice_ns": Integer(8), "nice": Integer(4, is_signed=True)}
TYPES = st.builds(Integer, st.sampled_from((1, 2, 4, 8)), st.booleans())


@given(TYPES, st.data())
def test_what_fits_comes_back(integer: Integer, data: st.DataObject) -> None:
    low, high = integer.bounds
    value = data.draw(st.integers(low, high))
    assert integer.holds(value)
    raw = integer.to_bytes(value)
    assert len(raw) == integer.size
    assert integer.from_bytes(raw) == value


@given(TYPES)
def test_what_is_beyond_the_bounds_does_not_fit(integer: Integer) -> None:
    low, high = integer.bounds
    assert not integer.holds(low - 1)
    assert not integer.holds(high + 1)


def test_a_bool_is_0_or_1() -> None:
    assert Integer(1, is_bool=True).bounds == (0, 1)


def test_constants_of_64_bits_are_cut_to_what_holds_them() -> None:
    assert Integer(4).to_bytes(2**64 - 1) == b"\xff" * 4


def test_settings_that_fit_are_fine() -> None:
    check_settings({"slice_ns": 2**64 - 1, "nice": -1}, KNOWN, "x.bpf.c")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"slice": 1}, "x.bpf.c: 'slice'; did you mean 'slice_ns'"),
        (
            {"slice_ns": -1},
            "--set slice_ns=-1: x.bpf.c takes 0 to 18446744073709551615",
        ),
        ({"nice": 1 << 31}, "takes -2147483648 to 2147483647"),
    ],
)
def test_others_are_told(given: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(given, KNOWN, "x.bpf.c")
    assert words in str(caught.value)
