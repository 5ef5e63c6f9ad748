# SPDX-License-Identifier: GPL-2.0-only
"""Measures nothing: it has the kernel wake kcompactd with every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.kernel.procfs import PROC
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler


class NudgeSampler(Sampler):
    name = "nudge"
    by_default = False

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._wakes = PROC / "sys/vm/compaction_proactiveness"

    def missing(self) -> Sequence[str]:
        return ()

    def sample(self) -> Mapping[str, float]:
        self._wakes.write_text("20")
        return {}


SAMPLER = NudgeSampler
