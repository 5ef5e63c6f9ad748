# SPDX-License-Identifier: GPL-2.0-only
"""The loader of objects, which notes what it has loaded; as somebody would add it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from experiments.loaders import scx
from experiments.model import Job, LoadedScheduler


class NotingLoader:
    name = "noting"

    def missing(self, job: Job) -> Sequence[str]:
        return scx.LOADER.missing(job)

    @contextlib.contextmanager
    def loaded(self, job: Job) -> Iterator[LoadedScheduler]:
        with scx.LOADER.loaded(job) as loaded:
            (job.out_dir / "load.log").write_text(loaded.ops_name)
            yield loaded


LOADER = NotingLoader()
