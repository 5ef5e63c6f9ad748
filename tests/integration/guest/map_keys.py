# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest that forks little, and says which pids have an entry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from experiments.model import Metric, Parameter, Round, RunSpec

#: bpftool's own pid is in the map once it has run.
SCRIPT = """
sleep {half}
bpftool -j map dump name tasks
exec sleep {half}
"""


class MapKeys:
    name = "map-keys"
    summary = "pids that have an entry"
    parameters: dict[str, Parameter] = {}
    sustained = True
    capabilities = ("sys_admin", "bpf")

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        return ("sh", "-c", SCRIPT.format(half=spec.duration_s / 2))

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        entries = json.loads(rounds[0].output)
        keys = [
            int.from_bytes(bytes(int(b, 16) for b in e["key"]), "little")
            if isinstance(e["key"], list)
            else int(e["key"])
            for e in entries
        ]
        return [Metric(f"pid_{key}", key, "", False) for key in keys]


WORKLOAD = MapKeys()
