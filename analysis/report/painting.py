# SPDX-License-Identifier: GPL-2.0-only
"""From sketches to figures: those that are kept, and those that have to be drawn.

Importing what draws takes longer than many a figure, so it is imported when there is
one to draw.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from analysis.load import cache
from analysis.load.cache import Cache
from analysis.report.sketch import Drawn, Sketch

#: From so many figures on it pays to draw on every CPU.
_MANY = 4


def painters() -> Mapping[str, Callable[..., bytes]]:
    from analysis.report import effect_plots, latency_plot, plots

    return {
        "over_time": plots.over_time,
        "metrics": plots.metrics,
        "in_order": plots.in_order,
        "waits": latency_plot.draw,
        "effects": effect_plots.effects,
        "scans": effect_plots.scans,
        "grid": effect_plots.grid,
    }


def draw(sketches: Sequence[Sketch], folder: Path) -> list[Drawn]:
    """Return all of them.

    Those that the experiment in `folder` keeps are not drawn again.
    """
    svgs = cache.use(folder, lambda kept: _svgs(sketches, kept))
    return [
        Drawn(s.name, s.scheduler, s.workload, s.text.finding, svg)
        for s, svg in zip(sketches, svgs, strict=True)
    ]


def _svgs(sketches: Sequence[Sketch], kept: Cache) -> list[bytes]:
    keys = [sketch.key for sketch in sketches]
    found = kept.figures(keys)
    new = {k: s for k, s in zip(keys, sketches, strict=True) if k not in found}
    found |= zip(new, _painted(list(new.values())), strict=True)
    kept.put_figures(found)
    return [found[key] for key in keys]


def _painted(sketches: Sequence[Sketch]) -> list[bytes]:
    if len(sketches) < _MANY:
        return [paint(sketch) for sketch in sketches]
    painters()  # imported once, and not by each process
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(paint, sketches))


def paint(sketch: Sketch) -> bytes:
    """Return the SVG."""
    return painters()[sketch.painter](*sketch.shown, sketch.text)
