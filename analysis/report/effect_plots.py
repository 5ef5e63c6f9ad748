# SPDX-License-Identifier: GPL-2.0-only
"""Figures of effects: all with intervals, scans against budget, the grid of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
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

from analysis.compare.effect import MARGIN
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
#: Effects whose intervals lie within this share of control are drawn apart from larger
#: ones, which would make points of them.
_SMALL = 0.25
#: An interval without end, as few blocks have, is cut here.
_WIDEST = 25.0
_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def effects(
    found: Sequence[Comparison],
    noise_sd: Mapping[str, float],
    names: Mapping[str, str],
    text: Text,
) -> bytes:
    """Draw a forest plot: changes in per cent with their intervals, largest first.

    Small and large effects have an axis each; the band around no change is the margin
    within which one does not matter. Behind each effect, in grey, what noise alone
    would give: `noise_sd` is the standard deviation of the log ratio of a metric
    between runs of the same arm. `names` are the labels of the variants.
    """
    rows = sorted(found, key=lambda c: abs(math.log(c.estimate or 1)))
    palette = colours([CONTROL, *dict.fromkeys(c.variant for c in rows)])
    panels = [
        (draw_axis, there)
        for draw_axis, there in (
            (_large_axis, [c for c in rows if not _is_small(c)]),
            (_small_axis, [c for c in rows if _is_small(c)]),
        )
        if there
    ]
    with mpl.rc_context(rc()):
        body_in = 0.6 * len(panels) + _ROW_IN * len(rows)
        figure, _ = framed(text, body_in, axes=False)
        shares = [len(there) + 1.5 for _, there in panels]
        grid = figure.add_gridspec(len(panels), 1, height_ratios=shares)
        for i, (draw_axis, there) in enumerate(panels):
            axes = figure.add_subplot(grid[i])
            _effect_rows(axes, there, noise_sd, names, palette)
            draw_axis(axes)
        if noise_sd:
            band = Patch(color=FAINT, alpha=0.35, label="noise alone (A/A)")
            figure.axes[-1].legend(
                handles=[band], loc="lower right", fontsize=7, frameon=False
            )
        return svg(figure)


def _is_small(c: Comparison) -> bool:
    ends = [v for v in (c.estimate, c.ci_low, c.ci_high) if v]
    return all(1 / (1 + _SMALL) < v < 1 + _SMALL for v in ends)


def _effect_rows(
    axes: Axes,
    rows: Sequence[Comparison],
    noise_sd: Mapping[str, float],
    names: Mapping[str, str],
    palette: Mapping[str, str],
) -> None:
    """Draw them against per cent of change."""
    several = len(palette) > 2
    for at, c in enumerate(rows):
        _noise_band(axes, at, c, noise_sd.get(c.metric))
        ends = [_percent(v) for v in (c.ci_low, c.ci_high) if v]
        axes.plot(ends, [at] * len(ends), color=palette[c.variant], linewidth=1.8)
        axes.plot(
            [_percent(c.estimate or 1)], [at], "o", color=palette[c.variant], ms=5
        )
    axes.axvspan(
        _percent(1 / (1 + MARGIN)), _percent(1 + MARGIN), color=INK, alpha=0.07, lw=0
    )
    axes.axvline(0, color=INK, linewidth=0.9)
    ticks = [f"{c.metric}, {names[c.variant]}" if several else c.metric for c in rows]
    axes.set_yticks(range(len(rows)), ticks, fontsize=8 if several else 9)
    axes.set_ylim(-0.6, len(rows) - 0.4)


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def _noise_band(axes: Axes, at: int, c: Comparison, sd: float | None) -> None:
    if sd is None or not math.isfinite(sd) or c.n_blocks < 2:
        return
    half = float(stats.t.ppf(0.975, c.n_blocks - 1)) * sd / math.sqrt(c.n_blocks)
    low, high = _percent(math.exp(-half)), _percent(math.exp(half))
    axes.barh(at, high - low, left=low, height=0.7, color=FAINT, alpha=0.35)


def _small_axis(axes: Axes) -> None:
    """Name per cent on an axis as wide as the effects, and wider than the margin."""
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -4.0), max(high, 4.0))
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:+g} %" if x else "0")
    )
    axes.set_xlabel(f"change against control; band: \u00b1{100 * MARGIN:.0f} %")


def _large_axis(axes: Axes) -> None:
    """Name ratios on a logarithmic axis, on which a tenth is as far as tenfold."""
    axes.set_xscale("function", functions=(_log_of_percent, _percent_of_log))
    low, high = axes.get_xlim()
    low = max(min(low, _percent(0.5)), _percent(1 / _WIDEST))
    high = min(max(high, _percent(1.1)), _percent(_WIDEST))
    axes.set_xlim(low, high)
    ticks = [_percent(t) for t in _TICKS if low <= _percent(t) <= high]
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:+.0f} %" if round(x) else "0")
    )
    axes.set_xlabel("change against control (log scale)")


def _log_of_percent(percent: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(1 + np.asarray(percent, dtype=float) / 100, 1e-6))


def _percent_of_log(log: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(100 * np.expm1(np.asarray(log, dtype=float)), dtype=float)


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
