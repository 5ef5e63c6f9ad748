# SPDX-License-Identifier: GPL-2.0-only
"""Whatever comes, the reader gives back what was sent, or gives up."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.agent.frames import CAPS, Frame, FrameError, Reader, fitting, send

HASH = b"0" * 64
_FRAMES = st.lists(
    st.builds(Frame, st.sampled_from(list(CAPS)), st.binary(max_size=300)),
    min_size=1,
    max_size=4,
)


def stream(frames: list[Frame]) -> bytes:
    reading, writing = os.pipe()
    for frame in frames:
        send(writing, frame.name, frame.payload)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        return file.read()


def read(raw: bytes) -> tuple[list[Frame], bool]:
    """Return the frames in `raw`, and whether the reader gave up."""
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(raw)

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = []
    try:
        reader = Reader(reading, lambda deadline: None)
        while (frame := reader.frame(0)) is not None:
            got.append(frame)
        return got, False
    except FrameError:
        while os.read(reading, 1 << 16):
            pass
        return got, True
    finally:
        feeder.join()
        os.close(reading)


@given(_FRAMES)
def test_what_was_sent_comes_whole(frames: list[Frame]) -> None:
    assert read(stream(frames)) == (frames, False)


@given(_FRAMES, st.data())
def test_a_changed_byte_yields_no_frame_that_was_not_sent(
    frames: list[Frame], data: st.DataObject
) -> None:
    raw = bytearray(stream(frames))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    got, _ = read(bytes(raw))
    assert got == frames[: len(got)]
    assert len(got) < len(frames)


@given(st.binary(max_size=400))
def test_noise_is_no_frame(noise: bytes) -> None:
    assert read(noise)[0] == []


@pytest.mark.parametrize(
    "header",
    [
        b"x" * 500,
        b"scxlab/1 event 0 " + HASH + b"\n",
        b"scxlab/2 ../../etc/passwd 4 " + HASH + b"\n",
        b"scxlab/2 job.json 4 " + HASH + b"\n",
        b"scxlab/2 event -1 " + HASH + b"\n",
        b"scxlab/2 event 1e9 " + HASH + b"\n",
        b"scxlab/2 event 007 " + HASH + b"\n",
        b"scxlab/2 event 99999999 " + HASH + b"\n",
        b"scxlab/2 samples.csv 999999999 " + HASH + b"\n",
        b"scxlab/2 event 4 " + HASH + b"\nabcd",
    ],
)
def test_a_header_that_lies_ends_it(header: bytes) -> None:
    assert read(header) == ([], True)


def test_what_is_too_long_is_cut_and_says_so(tmp_path: Path) -> None:
    most = CAPS["load.log"]
    log = tmp_path / "load.log"
    log.write_bytes(b"x" * (most + 5))
    cut = fitting("load.log", log)
    assert len(cut) <= most
    assert cut.endswith(b"[... 5 bytes more were left out]\n")
    log.write_bytes(b"x" * most)
    assert fitting("load.log", log) == b"x" * most


def test_a_table_is_cut_at_the_end_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CAPS, "samples.csv", 12)
    table = tmp_path / "samples.csv"
    table.write_bytes(b"a,b\n1,2\n3,4\n5,6\n")
    assert fitting("samples.csv", table) == b"a,b\n1,2\n3,4\n"
    table.write_bytes(b"a,b\n1,2\n333,4\n")
    assert fitting("samples.csv", table) == b"a,b\n1,2\n"
