# SPDX-License-Identifier: GPL-2.0-only
"""Run-queue latency: how long the workload's threads waited for a CPU, as a histogram.

Buckets grow with the wait, so their counts alone would draw a saw on a logarithmic
axis. What is drawn is the share of the waits per octave (a doubling of the wait), and
below it the share that was longer, in which the tail can be read.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.report import plots
from analysis.report.sketch import FAINT, Text
from analysis.stats.estimators import Array

#: An open last bucket is drawn this much wide, and one from 0 on begins so far below.
_OCTAVE = 2.0


class Curve(NamedTuple):
    """A histogram without gaps: n + 1 ``edges_us`` of n buckets.

    ``percent_per_octave`` has n values; ``percent_longer`` has n + 1, one at each edge,
    from 100 down to 0.
    """

    edges_us: Array
    percent_per_octave: Array
    percent_longer: Array


def curve(buckets: pd.DataFrame) -> Curve:
    """Return what is drawn of the buckets of one run, or of several together."""
    summed = buckets.groupby(["from_us", "to_us"])["count"].sum()
    low, high = (summed.index.get_level_values(i).to_numpy(float) for i in (0, 1))
    low = np.where(low > 0, low, high / _OCTAVE)
    high = np.where(np.isfinite(high), high, low * _OCTAVE)
    percent = 100 * summed.to_numpy(float) / summed.sum()
    edges = np.unique([*low, *high])
    of_bucket = np.searchsorted(edges, low)
    counted = np.zeros(len(edges) - 1)
    counted[of_bucket] = percent
    longer = np.append(np.cumsum(counted[::-1])[::-1], 0.0)
    return Curve(edges, counted / np.diff(np.log2(edges)), longer)


def draw(buckets: pd.DataFrame, text: Text) -> bytes:
    """Return every run a thin line and all runs of a variant together a thick one."""
    palette = plots.colours(plots.ordered(buckets["variant"]))
    with mpl.rc_context(plots.rc()):
        figure, _ = plots.framed(text, 1.6 * plots.HEIGHT_IN, axes=False)
        share, tail = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.1])
        many = plots.count_runs(buckets) > plots.MANY_RUNS
        for _, run in buckets.groupby(["variant", "run"], sort=True):
            colour = palette[str(run["variant"].iloc[0])]
            style = {"color": colour, "lw": 0.8, "alpha": 0.4, "rasterized": many}
            _lines(share, tail, curve(run), style)
        for i, (variant, colour) in enumerate(palette.items()):
            dash = plots.DASHES[i % len(plots.DASHES)]
            style = {"color": colour, "lw": 2.2, "ls": dash, "label": variant}
            _lines(share, tail, curve(buckets[buckets["variant"] == variant]), style)
        _label(share, tail)
        return plots.svg(figure)


def _lines(share: Axes, tail: Axes, drawn: Curve, style: dict[str, object]) -> None:
    edges, percent = drawn.edges_us, drawn.percent_per_octave
    share.step(edges, np.append(percent, 0.0), where="post", **style)  # type: ignore[arg-type]
    # The last edge is where nothing is longer: 0 has no place on this axis
    tail.plot(edges[:-1], drawn.percent_longer[:-1], **style)  # type: ignore[arg-type]


def _label(share: Axes, tail: Axes) -> None:
    share.set_ylim(bottom=0)
    share.set_ylabel("share of waits per octave (%)")
    # Not the best place: looking for it takes as long as drawing hundreds of lines
    share.legend(
        frameon=False, labelcolor="linecolor", handlelength=2.4, loc="upper right"
    )
    tail.set_xscale("log")
    tail.set_yscale("log")
    tail.set_ylim(min(0.5, tail.get_ylim()[0]), 130)
    tail.set_ylabel("share that waited longer (%)")
    tail.set_xlabel("time runnable until running (us)")
    for axis in (tail.xaxis, tail.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_major_locator(LogLocator(10, numticks=6))
        axis.set_minor_locator(NullLocator())
    for percent, name in ((50.0, "p50"), (10.0, "p90"), (1.0, "p99")):
        tail.axhline(percent, color=FAINT, lw=0.7, ls=(0, (2, 2)))
        tail.annotate(
            name, (1, percent), (4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=8, alpha=0.75,
        )  # fmt: skip
