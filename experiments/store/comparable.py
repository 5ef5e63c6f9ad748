# SPDX-License-Identifier: GPL-2.0-only
"""Whether what two things were run on is the same: two experiments, or two hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.store.machine_facts import BY_NAME, SAME

#: What differs, and its value in the one and in the other.
Difference = tuple[str, Any, Any]


def unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield where two sets of facts differ in what they would have to share.

    Down to the single value: of two lab roots the packages that differ.
    """
    for name in SAME:
        x, y = one.get(name), other.get(name)
        if name in BY_NAME and isinstance(x, Mapping) and isinstance(y, Mapping):
            both = set(x) & set(y)
            x, y = ({k: v for k, v in of.items() if k in both} for of in (x, y))
        yield from _unlike(name, x, y)


def _unlike(name: str, x: object, y: object) -> Iterator[Difference]:
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        for key in sorted({*x, *y}):
            yield from _unlike(f"{name} {key}", x.get(key), y.get(key))
    elif x != y:
        yield name, x, y
