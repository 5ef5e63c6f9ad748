# SPDX-License-Identifier: GPL-2.0-only
"""A libbpf that is missing or too old is a reason, not a crash."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.doctor import check_host
from experiments.doctor.check import CheckStatus
from experiments.kernel import libbpf
from tests.unit.doctor.answers import says


@pytest.fixture(autouse=True)
def opened_anew() -> Iterator[None]:
    libbpf.open_library.cache_clear()
    yield
    libbpf.open_library.cache_clear()


def library(major: int, minor: int) -> Any:
    return lambda name, **flags: SimpleNamespace(
        libbpf_major_version=lambda: major, libbpf_minor_version=lambda: minor
    )


def test_one_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library(1, 1))
    with pytest.raises(OSError, match=r"libbpf.so.1 is 1.1, and 1.2 is needed"):
        libbpf.open_library()


def test_none_is_told_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "NAME", "libbpf-that-nobody-has.so.1")
    says(
        check_host._libbpf(),
        CheckStatus.MISSING,
        "libbpf-that-nobody-has",
        "apt-get install libbpf1",
    )


def test_results_of_functions_become_errors() -> None:
    def function() -> None: ...

    with pytest.raises(PermissionError, match="function"):
        libbpf._checked_number(-13, function, ())
    assert libbpf._checked_number(7, function, ()) == 7
    with pytest.raises(OSError, match="libbpf's error 4003"):
        libbpf._checked_number(-4003, function, ())
    ctypes.set_errno(2)
    with pytest.raises(FileNotFoundError):
        libbpf._checked_pointer(None, function, ())
