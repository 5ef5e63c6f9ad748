# SPDX-License-Identifier: GPL-2.0-only
"""Free memory of the machine, and the kernel memory charged to the scheduler.

/proc/slabinfo has no cache of BPF elements: they lie in kmalloc-cg-N among everybody
else's. The object is therefore loaded from a cgroup of its own, whose
slab_unreclaimable counts its elements and little else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.kernel import cgroup, procfs
from experiments.model import Job, Loaded


class MemorySampler:
    name = "memory"

    def __init__(self, job: Job, loaded: Loaded) -> None:
        self._cgroup = loaded.cgroup

    def missing(self) -> Sequence[str]:
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {"slab_bpf_kb_from": "memory.stat" if self._cgroup else None}

    def sample(self) -> Mapping[str, float]:
        values: dict[str, float] = {"free_mem_kb": procfs.mem_free_kb()}
        if self._cgroup is not None:
            values["slab_bpf_kb"] = cgroup.slab_unreclaimable_bytes(self._cgroup) / 1024
        return values

    def close(self) -> None:
        pass


SAMPLER = MemorySampler
