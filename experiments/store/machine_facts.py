# SPDX-License-Identifier: GPL-2.0-only
"""What a manifest's facts know of the machine, and which of it all runs must share.

On disk facts are a mapping, to which anybody may add more; these are the names that the
project itself writes and reads. They are written in the order of the fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from experiments.errors import FormatError

#: Of a field: runs have to share its value to be compared.
_SHARED: Mapping[str, bool] = {"shared": True}
#: It has a value for each name, and only names that both have count.
_BY_NAMES: Mapping[str, bool] = {"shared": True, "by_name": True}


@dataclass(frozen=True)
class Host:
    """The machine itself; that of a cluster of unlike machines has no `cpus`."""

    kernel: str | None = None
    cpu: str | None = None
    cpus: int | None = None
    mem_total_kb: int | None = None
    load_1min: float | None = None
    python: str | None = None


@dataclass(frozen=True)
class LabRootFacts:
    """The lab root, or what the machine has in its place: packages by version."""

    key: str
    suite: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class MachineFacts:
    """A fact is None where nobody knows it, as in experiments of an older version.

    ``vm`` is the shape of the guest as it was configured. ``objects`` are by scheduler
    and variant, ``tools`` by program, and ``map`` is the one that the user names.
    """

    scxlab: str | None = None
    git: str | None = None
    host: Host | None = None
    backend: str | None = None
    kernel: str | None = None
    kernel_sha256: str | None = field(default=None, metadata=_SHARED)
    accel: str | None = field(default=None, metadata=_SHARED)
    accel_because: str | None = None
    vm: Mapping[str, Any] | None = field(default=None, metadata=_SHARED)
    labroot: LabRootFacts | None = field(default=None, metadata=_SHARED)
    objects: Mapping[str, Mapping[str, Any]] | None = field(
        default=None, metadata=_BY_NAMES
    )
    tools: Mapping[str, str] | None = field(default=None, metadata=_BY_NAMES)
    map: str | None = field(default=None, metadata=_SHARED)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> MachineFacts:
        """Return what is known of a machine; further facts are not looked at.

        Raises FormatError naming the first one that is wrong.
        """
        try:
            return _READER.validate_python(dict(facts))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise FormatError(f"facts: {where}: {first['msg']}") from None

    def written(self, *empty: str) -> dict[str, Any]:
        """Return the facts as a manifest has them, without those that are None.

        Of `empty` it is known that there is none: they are written.
        """
        every = dataclasses.asdict(self)
        return {k: v for k, v in every.items() if v is not None or k in empty}


_READER = TypeAdapter(MachineFacts)
_FIELDS = dataclasses.fields(MachineFacts)

#: Facts that all runs of an experiment share. Only a new experiment may have others.
SAME = tuple(f.name for f in _FIELDS if "shared" in f.metadata)
#: Facts with a value for each name: names that only one of two has do not differ.
BY_NAME = tuple(f.name for f in _FIELDS if "by_name" in f.metadata)
