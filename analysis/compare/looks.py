# SPDX-License-Identifier: GPL-2.0-only
"""Whether results were looked at before all blocks were done, which has a price.

Who looks while runs are still to come, and stops or goes on as it pleases, is wrong
far more often than a single interval says. So such results, and all later ones of
the same experiment, are judged by confidence sequences, which hold at every look. To
merge an experiment that was looked at with another one is such a look, too. Where it is
an experiment that stops by itself, at looks that were planned, that costs much less.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from analysis.load.frames import PENDING, Data
from analysis.stats.looking import ANY_TIME, FIXED, PLANNED, Looking
from experiments.store.merge import BETWEEN
from experiments.support.files import atomic_write

#: Beside the manifest: the looks.
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
    looks, most = config.get("looks"), config.get("iterations")
    if not isinstance(looks, int) or not isinstance(most, int) or looks < 2 or most < 1:
        return Looking(ANY_TIME)
    return Looking(PLANNED, looks, math.ceil(most / looks))


@dataclass(frozen=True)
class Look:
    """How many runs had come to an end, and a hash of which, and how."""

    runs: int
    state: str


_LOOKS = TypeAdapter(list[Look])


def earlier_looks(data: Data) -> list[int]:
    """Return after how many runs other results than these were looked at.

    In this experiment, in those that it was merged from, and in other merges of these.
    An experiment that was looked at as it is now owes nothing to later merges of it.
    """
    now, folder = _now(data), data.experiment.path
    mine = _read(folder)
    merged = [str(part) for part in data.manifest.facts.get("merged") or ()]
    parts = set(merged or [folder.name])
    if not merged and now in mine:
        parts = set()
    merges = folder.parent.glob(f"*{BETWEEN}*") if parts else ()
    beside = [other for other in merges if parts & {*other.name.split(BETWEEN)}]
    others = [*(folder.parent / part for part in merged), *beside]
    looks = {look for f in (folder, *others) for look in _read(f) if look != now}
    return sorted({look.runs for look in looks})


def note(data: Data) -> None:
    """Record that the results were looked at, as they are."""
    now, folder = _now(data), data.experiment.path
    before = _read(folder)
    if now.runs and now not in before:
        atomic_write(folder / FILE, _LOOKS.dump_json([*before, now], indent=1))


def _now(data: Data) -> Look:
    ended = data.runs[data.runs["outcome"] != PENDING]
    pairs = zip(ended["run_id"], ended["outcome"], ended["used"], strict=True)
    text = repr(sorted((str(i), str(o), bool(u)) for i, o, u in pairs))
    return Look(len(ended), hashlib.sha256(text.encode()).hexdigest()[:16])


def _read(folder: Path) -> list[Look]:
    """Return the looks; a file that cannot be read stands for one of unknown runs."""
    try:
        return _LOOKS.validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        return [Look(0, "unreadable")]
