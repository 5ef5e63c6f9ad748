# SPDX-License-Identifier: GPL-2.0-only
"""Memory of the machine, and the kernel memory charged to the scheduler.

/proc/slabinfo has no cache of BPF elements: they lie in kmalloc-cg-N among everybody
else's. The object is therefore loaded from a cgroup of its own, whose
slab_unreclaimable counts its elements and little else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.columns import Column, Kind
from experiments.kernel import cgroup, procfs
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


class MemorySampler(Sampler):
    name = "memory"
    columns = (
        Column("free_mem_kb", "kB", "free memory of the machine", Kind.GAUGE),
        Column("sunreclaim_kb", "kB", "unreclaimable slab of the machine", Kind.GAUGE),
        Column("percpu_kb", "kB", "per-CPU memory of the machine", Kind.GAUGE),
        Column("slab_bpf_kb", "kB", "slab of the scheduler's cgroup", Kind.GAUGE),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._cgroup = loaded.cgroup

    def missing(self) -> Sequence[str]:
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {"slab_bpf_kb_from": "memory.stat" if self._cgroup else None}

    def sample(self) -> Mapping[str, float]:
        free, slab, percpu = procfs.meminfo_kb("MemFree", "SUnreclaim", "Percpu")
        values: dict[str, float] = {
            "free_mem_kb": free,
            "sunreclaim_kb": slab,
            "percpu_kb": percpu,
        }
        if self._cgroup is not None:
            values["slab_bpf_kb"] = cgroup.slab_unreclaimable_bytes(self._cgroup) / 1024
        return values


SAMPLER = MemorySampler
