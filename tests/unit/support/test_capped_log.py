# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.support.capped_log import CappedLog

HALF = 50


def kept(path: Path, chunks: list[bytes]) -> bytes:
    reading, writing = os.pipe()
    log = CappedLog(reading, path, HALF)
    for chunk in chunks:
        os.write(writing, chunk)
    os.close(writing)
    log.join(10)
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=70), max_size=8))
def test_beginning_and_end_are_kept(tmp_path: Path, chunks: list[bytes]) -> None:
    whole, found = b"".join(chunks), kept(tmp_path / "x.log", chunks)
    if len(whole) <= 2 * HALF:
        assert found == whole
    else:
        left_out = len(whole) - 2 * HALF
        words = b"\n[... %d bytes were left out]\n" % left_out
        assert found == whole[:HALF] + words + whole[-HALF:]


def test_the_text_is_known_before_the_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    log = CappedLog(reading, tmp_path / "x.log", HALF)
    os.write(writing, b"booting")
    while not log.text():
        pass
    assert log.text() == "booting"
    os.close(writing)
    log.join(10)


@pytest.mark.parametrize("size", [3 << 20])
def test_a_flood_takes_little_room(tmp_path: Path, size: int) -> None:
    assert len(kept(tmp_path / "x.log", [b"y" * 65536] * (size >> 16))) < 200
