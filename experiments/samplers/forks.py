# SPDX-License-Identifier: GPL-2.0-only
"""Tasks created since the first sample, by anybody on this kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.kernel import procfs
from experiments.model import Job, Loaded


class ForksSampler:
    name = "forks"

    def __init__(self, job: Job, loaded: Loaded) -> None:
        self._before: int | None = None

    def missing(self) -> Sequence[str]:
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {}

    def sample(self) -> Mapping[str, float]:
        now = procfs.forks()
        if self._before is None:
            self._before = now
        return {"forks": now - self._before}

    def close(self) -> None:
        pass


SAMPLER = ForksSampler
