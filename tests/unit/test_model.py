# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from experiments.model import Outcome

#: outcome -> (is it data, is the run repeated when one goes on, is it a fault)
MEANING = {
    Outcome.OK: (True, False, False),
    Outcome.FAILED: (False, False, True),
    Outcome.TIMEOUT: (False, False, True),
    Outcome.EJECTED: (False, False, True),
    Outcome.LOST: (False, True, True),
    Outcome.SKIPPED: (False, True, False),
}


@pytest.mark.parametrize("outcome", Outcome)
def test_what_an_outcome_means(outcome: Outcome) -> None:
    found = (outcome.is_data, outcome.is_repeated, outcome.is_fault)
    assert found == MEANING[outcome]
