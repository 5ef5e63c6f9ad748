# SPDX-License-Identifier: GPL-2.0-only
"""Integers of C as a BPF object holds them: their width, their bounds, their bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.errors import ConfigError, unknown_name

#: Variables of an object's read-only data are in sections whose names begin so.
READ_ONLY = ".rodata"


@dataclass(frozen=True)
class Integer:
    """A type of whole numbers; ``size`` is in bytes."""

    size: int
    is_signed: bool = False
    is_bool: bool = False

    @property
    def bounds(self) -> tuple[int, int]:
        if self.is_bool:
            return 0, 1
        values = 1 << 8 * self.size
        return (-values // 2, values // 2 - 1) if self.is_signed else (0, values - 1)

    def holds(self, value: int) -> bool:
        low, high = self.bounds
        return low <= value <= high

    def to_bytes(self, value: int) -> bytes:
        """Return the bytes of a number; its upper ones are cut off if it has more."""
        return (value % (1 << 8 * self.size)).to_bytes(self.size, sys.byteorder)

    def from_bytes(self, raw: bytes) -> int:
        return int.from_bytes(raw, sys.byteorder, signed=self.is_signed)


def check_settings(
    given: Mapping[str, int], known: Mapping[str, Integer], of: str
) -> None:
    """Raise ConfigError for settings that the read-only data `of` a file cannot take.

    It names the nearest of those that are `known`, or the bounds.
    """
    for name, value in given.items():
        if name not in known:
            kind = f"number in the read-only data of {of}:"
            raise unknown_name(kind, name, (k for k in known if not k.startswith("_")))
        if not known[name].holds(value):
            low, high = known[name].bounds
            raise ConfigError(f"--set {name}={value}: {of} takes {low} to {high}")
