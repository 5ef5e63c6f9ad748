# SPDX-License-Identifier: GPL-2.0-only
"""What the BTF of an object file tells of it, from `bpftool -j btf dump`.

Not by libbpf, as in the agent (`kernel/btf.py`): an object may be made to harm whoever
reads its bytes, so bpftool does, in a cell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import BuildError
from experiments.kernel.integers import READ_ONLY, Integer

_Type = Mapping[str, Any]
_WRAPPERS = ("TYPEDEF", "VOLATILE", "CONST", "RESTRICT", "TYPE_TAG")
_ENUMS = ("ENUM", "ENUM64")
_STRUCT_OPS = ".struct_ops"
_MOST_WRAPPERS = 32  # a damaged file may go round in circles


@dataclass(frozen=True)
class ObjectTypes:
    """The types of one object; those that a damaged file leaves out are no types."""

    types: Sequence[_Type]

    @classmethod
    def parse(cls, text: str) -> ObjectTypes:
        """Raises BuildError for what is no list of types."""
        try:
            return cls([*json.loads(text)["types"]])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BuildError(f"its BTF cannot be read: {error!r}") from None

    def _section_names(self) -> list[str]:
        return [t["name"] for t in self.types if t["kind"] == "DATASEC"]

    @property
    def has_scheduler(self) -> bool:
        return any(name.startswith(_STRUCT_OPS) for name in self._section_names())

    def layout(self, struct: str) -> dict[str, int]:
        """Return the members of a struct of u64, with their offsets in bytes."""
        found = [t for t in self.types if (t["kind"], t["name"]) == ("STRUCT", struct)]
        return {
            m["name"]: m["bits_offset"] // 8 for t in found[:1] for m in t["members"]
        }

    def settings(self) -> dict[str, Integer]:
        """Return the numbers in read-only data, which can be set before loading."""
        by_id = {t["id"]: t for t in self.types}
        variables = [
            by_id.get(variable["type_id"], {})
            for t in self.types
            if t["kind"] == "DATASEC" and t["name"].startswith(READ_ONLY)
            for variable in t["vars"]
        ]
        found = {v.get("name", ""): _integer(by_id, v) for v in variables}
        return {name: integer for name, integer in found.items() if integer}


def _integer(by_id: Mapping[int, _Type], variable: _Type) -> Integer | None:
    found = by_id.get(variable.get("type_id", 0), {})
    for _ in range(_MOST_WRAPPERS):
        if found.get("kind") not in _WRAPPERS:
            break
        found = by_id.get(found.get("type_id", 0), {})
    kind, encoding = found.get("kind"), str(found.get("encoding"))
    if kind in _ENUMS:
        return Integer(found["size"], encoding == "SIGNED")
    if kind != "INT":
        return None
    return Integer(found["size"], "SIGNED" in encoding, encoding == "BOOL")
