# SPDX-License-Identifier: GPL-2.0-only
"""Time spans in words."""

from __future__ import annotations

import pytest

from experiments.support.timespan import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0 s"), (89.4, "89 s"), (91, "2 min"), (5360, "89 min")),
        *((5400, "1 h 30 min"), (12_000, "3 h 20 min"), (47 * 3600, "47 h 0 min")),
        *((48 * 3600, "2 d 0 h"), (3.25 * 86_400, "3 d 6 h")),
    ],
)
def test_a_span_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said
