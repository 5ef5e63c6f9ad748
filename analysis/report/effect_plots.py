# SPDX-License-Identifier: GPL-2.0-only
"""Figures of effects: all with intervals, scans against budget, the grid of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from scipy import stats

from analysis.compare.within_experiment import Comparison
from analysis.report.plots import (
    CONTROL_COLOUR,
    TEST_COLOURS,
    colours,
    framed,
    ordered,
    rc,
    svg,
)
from analysis.report.sketch import FAINT, INK, Text
from analysis.stats.estimators import median_curve
from experiments.model import CONTROL

_ROW_IN = 0.24
#: Ratios that an axis may name.
_TICKS = (0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 5, 10, 20)
_FEW_TICKS = (0.05, 0.2, 0.5, 1, 2, 5, 20)
_WIDEST = 25.0


def effects(
    found: Sequence[Comparison],
    noise_sd: Mapping[str, float],
    names: Mapping[str, str],
    text: Text,
) -> bytes:
    """Draw a forest plot: ratios to control with 95 % intervals, largest first.

    Behind each, in grey, what noise alone would give: `noise_sd` is the standard
    deviation of the log ratio of a metric between runs of the same arm. `names` are
    the labels of the variants.
    """
    rows = sorted(found, key=lambda c: abs(math.log(c.estimate or 1)))
    palette = colours([CONTROL, *dict.fromkeys(c.variant for c in rows)])
    several = len(palette) > 2
    with mpl.rc_context(rc()):
        figure, axes = framed(text, 0.9 + _ROW_IN * len(rows))
        for at, c in enumerate(rows):
            _noise_band(axes, at, c, noise_sd.get(c.metric))
            ends = [v for v in (c.ci_low, c.ci_high) if v]
            axes.plot(ends, [at] * len(ends), color=palette[c.variant], linewidth=1.8)
            axes.plot([c.estimate or 1], [at], "o", color=palette[c.variant], ms=5)
        axes.axvline(1, color=INK, linewidth=0.9)
        ticks = [
            f"{c.metric}, {names[c.variant]}" if several else c.metric for c in rows
        ]
        axes.set_yticks(range(len(rows)), ticks, fontsize=8 if several else 9)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        _ratio_axis(axes)
        if noise_sd:
            band = Patch(color=FAINT, alpha=0.35, label="noise alone (A/A)")
            axes.legend(handles=[band], loc="lower right", fontsize=7, frameon=False)
        return svg(figure)


def _noise_band(axes: Axes, at: int, c: Comparison, sd: float | None) -> None:
    if sd is None or not math.isfinite(sd) or c.n_blocks < 2:
        return
    half = float(stats.t.ppf(0.975, c.n_blocks - 1)) * sd / math.sqrt(c.n_blocks)
    span = 2 * math.sinh(half)
    axes.barh(at, span, left=math.exp(-half), height=0.7, color=FAINT, alpha=0.35)


def _ratio_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # Few blocks have intervals without end, beside which nothing else could be seen
    low, high = max(min(low, 0.97), 1 / _WIDEST), min(max(high, 1.03), _WIDEST)
    axes.set_xlim(low, high)
    ticks = [t for t in _TICKS if low <= t <= high]
    if len(ticks) > 6:
        ticks = [t for t in ticks if t in _FEW_TICKS]
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("test / control (log scale; bar: 95 % interval)")


def scans(values: pd.DataFrame, names: Mapping[str, str], text: Text) -> bytes:
    """Draw each run's mean and longest scan against its variant's budget.

    `values`: columns variant, mean_us, longest_us, budget_us; a row a run.
    """
    order = ordered(values["variant"])
    palette = colours([CONTROL, *order])
    with mpl.rc_context(rc()):
        figure, axes = framed(text, 1.0 + 0.42 * len(order))
        for at, variant in enumerate(order):
            rows = values[values["variant"] == variant]
            place = np.full(len(rows), float(at))
            colour = palette[variant]
            axes.plot(rows["mean_us"], place, "o", color=colour, alpha=0.7, ms=5)
            axes.plot(rows["longest_us"], place, "|", color=colour, ms=13, mew=1.8)
            budget = float(rows["budget_us"].iloc[0])
            axes.plot([budget] * 2, [at - 0.4, at + 0.4], color=INK, linewidth=1.2)
        axes.set_xscale("log")
        axes.set_yticks(range(len(order)), [names[v] for v in order])
        axes.set_ylim(len(order) + 0.3, -0.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("time of a scan (us, log scale)")
        marks = {"mean": "o", "longest": "|"}
        handles = [
            Line2D([], [], color=FAINT, marker=m, ls="", label=k, ms=8)
            for k, m in marks.items()
        ]
        handles.append(Line2D([], [], color=INK, label="budget"))
        axes.legend(
            handles=handles, fontsize=7, frameon=False, loc="lower center", ncols=3
        )
        return svg(figure)


def grid(
    samples: pd.DataFrame, places: Mapping[str, tuple[str, str]], text: Text
) -> bytes:
    """Draw a sweep as small multiples: entries over time, control behind.

    `places` says the row and the column of each variant, as their labels.
    """
    down = list(dict.fromkeys(row for row, _ in places.values()))
    across = list(dict.fromkeys(column for _, column in places.values()))
    top = float(samples["map_entries"].max()) or 1.0
    with mpl.rc_context(rc()):
        figure, _ = framed(text, 0.5 + 1.35 * len(down), axes=False)
        for variant, (row, column) in places.items():
            number = down.index(row) * len(across) + across.index(column) + 1
            axes = figure.add_subplot(len(down), len(across), number)
            _small(axes, samples, variant, top)
            axes.set_title(", ".join(filter(None, (row, column))), fontsize=7.5)
            axes.label_outer()
        figure.supxlabel("time since the first sample (s)", fontsize=8)
        figure.supylabel("map entries", fontsize=8)
        return svg(figure)


def _small(axes: Axes, samples: pd.DataFrame, variant: str, top: float) -> None:
    for name, colour in ((CONTROL, CONTROL_COLOUR), (variant, TEST_COLOURS[0])):
        rows = samples[samples["variant"] == name]
        for _, run in rows.groupby("run"):
            axes.plot(
                run["timestamp"], run["map_entries"], color=colour, alpha=0.35, lw=0.6
            )
        axes.plot(*median_curve(rows, "map_entries"), color=colour, linewidth=1.8)
    axes.set_ylim(0, 1.05 * top)
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_locator(MaxNLocator(4))
