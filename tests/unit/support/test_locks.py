# SPDX-License-Identifier: GPL-2.0-only
"""Locks: who holds one, alone or shared; a dead holder's is free."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from experiments.support.locks import (
    GaveUp,
    Held,
    Mode,
    Owner,
    hold,
    locked,
    owner,
    queued,
    unused,
)


def test_a_lock_names_its_owner_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert owner(path) is None
    with locked(path, "what"):
        holder = owner(path)
        assert holder is not None
        assert (holder.pid, holder.what) == (os.getpid(), "what")
        with pytest.raises(Held, match=f"process {os.getpid()} .*what"):
            locked(path).__enter__()
    assert owner(path) is None


def test_what_a_dead_owner_left_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    dead = {"pid": 1, "host": "h", "command": "c", "since": 0.0, "what": ""}
    path.write_text(json.dumps(dead))
    assert owner(path) is None
    with locked(path):
        holder = owner(path)
        assert holder is not None and holder.pid == os.getpid()


def test_a_queue_waits_for_its_turn_and_says_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    said: list[str] = []
    order: list[str] = []
    waiting = threading.Event()

    def told(holder: str) -> None:
        said.append(holder)
        waiting.set()

    def second() -> None:
        with queued(path, "second", told):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(path, "first"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert len(said) == 1 and "first" in said[0]


def test_whoever_waits_may_give_up(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    said: list[str] = []
    with (
        locked(path, "first"),
        pytest.raises(GaveUp),
        queued(path, "second", said.append, lambda: bool(said)),
    ):
        pytest.fail("it had the lock of another")
    assert "first" in said[0]


def test_many_share_a_lock_and_nobody_has_it_alone_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    shared = [hold(path, Mode.SHARED) for _ in range(2)]
    with pytest.raises(Held):
        hold(path, Mode.EXCLUSIVE)
    for handle in shared:
        os.close(handle)
    alone = hold(path, Mode.EXCLUSIVE)
    with pytest.raises(Held):
        hold(path, Mode.SHARED)
    os.close(alone)


def test_whoever_only_looks_refuses_nobody(tmp_path: Path) -> None:
    """Nor is the name that a dead holder has left taken for that of the looker."""
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "h", "command": "c", "since": 0.0}))
    looks = hold(path, Mode.SHARED)
    soon = threading.Timer(0.1, os.close, [looks])
    soon.start()
    with locked(path):
        holder = owner(path)
    soon.join()
    assert holder is not None and holder.pid == os.getpid()


def test_a_lock_is_unused_until_somebody_has_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with unused(path) as never_taken:
        assert never_taken
    with locked(path), unused(path) as free:
        assert not free
    with unused(path) as free, pytest.raises(Held), locked(path):
        pytest.fail("it was to stay unused")
    assert free


def test_a_holder_that_does_not_sign_is_one_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    handle = hold(path, Mode.EXCLUSIVE)
    holder = owner(path)
    os.close(handle)
    assert holder is not None and holder.command == "unknown"


def test_an_owner_says_for_how_long() -> None:
    assert Owner(1, "h", "c", time.time() - 720).age() == "for 12 min"
    assert Owner(1, "h", "c", time.time() + 60).age() == "for 0 s"
