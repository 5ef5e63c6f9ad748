# SPDX-License-Identifier: GPL-2.0-only
"""Memory of the slab cache in which the elements of the watched map lie.

Elements that are not allocated in advance come from kmalloc-cg-N (since Linux 6.1, in
kernel/bpf/memalloc.c), which others use as well: it is the growth that tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.columns import Column, Kind
from experiments.kernel.procfs import KeptFile
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler
from experiments.samplers.bpf_map import watched

_SLAB = Path("/sys/kernel/slab")
#: sizeof(struct htab_elem) on 64-bit kernels (kernel/bpf/hashtab.c)
_ELEMENT_HEAD = 48
_KMALLOC_SIZES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
_NO_PREALLOC = 1
_HASH = 1


def element_bytes(key_size: int, value_size: int) -> int:
    """Return what a hash map asks the allocator for, an element."""
    return _ELEMENT_HEAD + _up_to_8(key_size) + _up_to_8(value_size)


def _up_to_8(size: int) -> int:
    return (size + 7) // 8 * 8


def cache_of(size: int) -> Path | None:
    """Return the cache for accounted allocations of `size` bytes.

    None beyond the largest.
    """
    fitting = [bucket for bucket in _KMALLOC_SIZES if bucket >= size]
    if not fitting:
        return None
    name = f"{fitting[0] // 1024}k" if fitting[0] >= 1024 else str(fitting[0])
    return _SLAB / f"kmalloc-cg-{name}"


class SlabCacheSampler(Sampler):
    name = "slab-cache"
    columns = (
        Column(
            "slab_cache_kb", "kB", "the kmalloc-cg cache of the elements", Kind.GAUGE
        ),
    )

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._cache: Path | None = None
        self._objects: KeptFile | None = None
        self._reasons: Sequence[str] = ("the scheduler's programs use no hash map",)
        _, info = watched(job, loaded)
        if info is None:
            return
        if info.type != _HASH or not info.flags & _NO_PREALLOC:
            self._reasons = ("its elements do not come from a slab cache, one by one",)
            return
        self._cache = cache_of(element_bytes(info.key_size, info.value_size))
        self._reasons = self._absent()

    def _absent(self) -> Sequence[str]:
        if self._cache is None:
            return ("its elements are larger than the caches of kmalloc",)
        if not (self._cache / "objects").exists():
            return (f"no {self._cache} (CONFIG_SLUB_DEBUG, CONFIG_MEMCG)",)
        self._object_bytes = _number((self._cache / "object_size").read_text())
        self._objects = KeptFile(self._cache / "objects")
        return ()

    def missing(self) -> Sequence[str]:
        return self._reasons

    def facts(self) -> Mapping[str, Any]:
        assert self._cache is not None
        return {"slab_cache": self._cache.name}

    def sample(self) -> Mapping[str, float]:
        assert self._objects is not None
        objects = _number(self._objects.text())
        return {"slab_cache_kb": objects * self._object_bytes / 1024}

    def close(self) -> None:
        if self._objects is not None:
            self._objects.close()


def _number(text: str) -> int:
    """Return the first number of a sysfs file; some add the shares of NUMA nodes."""
    return int(text.split()[0])


SAMPLER = SlabCacheSampler
