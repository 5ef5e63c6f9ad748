# SPDX-License-Identifier: GPL-2.0-only
"""Which addresses a worker joins without being told."""

from __future__ import annotations

import pytest

from experiments.commands import cluster


@pytest.mark.parametrize(
    ("address", "is_safe"),
    [
        ("tls://10.0.0.1:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://10.0.0.1:8786", False),
        ("tcp://localhost.example:8786", False),
        ("tcp://127.0.0.1.example:8786", False),
        ("ucx://10.0.0.1:8786", False),
    ],
)
def test_which_addresses_a_worker_joins_without_being_told(
    address: str, is_safe: bool
) -> None:
    assert cluster._is_safe(address) is is_safe
