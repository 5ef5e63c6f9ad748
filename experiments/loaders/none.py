# SPDX-License-Identifier: GPL-2.0-only
"""Nothing is loaded: the kernel's own scheduler runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from experiments.errors import LoadError
from experiments.kernel import sched_ext
from experiments.model import Job, LoadedScheduler


class NoneLoader:
    name = "none"

    def missing(self, job: Job) -> Sequence[str]:
        return ()

    @contextlib.contextmanager
    def loaded(self, job: Job) -> Iterator[LoadedScheduler]:
        if ops := sched_ext.status().ops:
            raise LoadError(f"the scheduler {ops!r} is loaded; unload it first")
        yield LoadedScheduler(ops_name="", maps={}, cgroup=None)


LOADER = NoneLoader()
