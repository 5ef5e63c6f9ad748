# SPDX-License-Identifier: GPL-2.0-only
"""Whether results were looked at before all blocks were done, which has a price.

Who looks while runs are still to come, and stops or goes on as it pleases, is wrong
far more often than a single interval says. So such results, and all later ones of
the same experiment, are judged by confidence sequences, which hold at every look. To
merge an experiment that was looked at with another one is such a look, too. Where it is
an experiment that stops by itself, at looks that were planned, that costs much less.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load.frames import PENDING, Data
from analysis.stats.looking import ANY_TIME, FIXED, PLANNED, Looking
from experiments.store.merge import BETWEEN
from experiments.support.files import atomic_write

#: Beside the manifest: after how many runs the results were looked at.
FILE = "looks.json"


def looking(data: Data) -> Looking:
    """Return when the results were looked at, and may be."""
    config = data.manifest.config
    is_pending = bool((data.runs["outcome"] == PENDING).any())
    if is_pending or earlier_looks(data):
        return Looking(ANY_TIME)
    if not config.get("until_decided"):
        return FIXED
    if data.manifest.facts.get("merged"):
        return Looking(ANY_TIME)
    return planned(config)


def planned(config: Mapping[str, Any]) -> Looking:
    """Return when an experiment that goes on until it is decided is looked at."""
    looks = int(config.get("looks", 0))
    if looks < 2:
        return Looking(ANY_TIME)
    size = math.ceil(int(config.get("iterations", 0)) / looks)
    return Looking(PLANNED, looks, size)


def earlier_looks(data: Data) -> list[int]:
    """Return after how many runs the experiment was looked at, fewer than now."""
    now = _done(data.runs)
    looks = set[int]().union(*map(_read, _folders(data)))
    return sorted(n for n in looks if n < now)


def note(data: Data) -> None:
    """Record that the results were looked at, after as many runs as there are."""
    now, folder = _done(data.runs), data.experiment.path
    before = _read(folder)
    if now and now not in before:
        atomic_write(folder / FILE, f"{json.dumps(sorted({*before, now}))}\n")


def _folders(data: Data) -> list[Path]:
    """Return the experiment, what it was merged from, and other merges of that."""
    folder = data.experiment.path
    parts = set(map(str, data.manifest.facts.get("merged", ())))
    merges = folder.parent.glob(f"*{BETWEEN}*") if parts else ()
    beside = [other for other in merges if parts & {*other.name.split(BETWEEN)}]
    return [folder, *(folder.parent / part for part in sorted(parts)), *beside]


def _done(runs: pd.DataFrame) -> int:
    return int((runs["outcome"] != PENDING).sum())


def _read(folder: Path) -> set[int]:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return {int(n) for n in json.loads((folder / FILE).read_text())}
    return set()
