# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from experiments.agent.eviction_check import _too_many_exits


@pytest.mark.parametrize(
    ("counter", "kernel", "is_flagged"),
    [
        (0, 0, False),
        (200, 0, False),
        (201, 0, True),
        (1300, 1000, False),
        (1301, 1000, True),
        (5, 100_000, False),
    ],
)
def test_more_exits_than_there_were_are_flagged(
    counter: int, kernel: int, is_flagged: bool
) -> None:
    flags = _too_many_exits({"counter": counter, "kernel": kernel})
    assert bool(flags) is is_flagged
    assert all(str(counter) in flag and str(kernel) in flag for flag in flags)
