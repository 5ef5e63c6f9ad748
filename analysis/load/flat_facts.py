# SPDX-License-Identifier: GPL-2.0-only
"""The facts of a manifest as one list: nested names are joined by dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every fact, in the order of the file."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
