# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pandas as pd
import pytest

from analysis.aggregate import inert


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "@SUM(A1)", "-2+3", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    frame = pd.DataFrame({"variant": [text, "test"], "value": [-1.5, 2.0]})
    found = inert(frame)
    assert list(found["variant"]) == [f"'{text}", "test"]
    assert list(found["value"]) == [-1.5, 2.0]
    assert list(frame["variant"]) == [text, "test"]
