# SPDX-License-Identifier: GPL-2.0-only
"""Figures as SVG: what is drawn comes computed, so there are no statistics in here.

Every figure says its finding in the title, its runs in the line below, and units on
the axes. Colours are those of Okabe and Ito, told apart with any colour vision, and
the arms are labelled where their lines end. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.report.sketch import FAINT, INK, PAPER, Series, Text
from analysis.stats import estimators
from experiments.model import CONTROL, DEFAULT

CONTROL_COLOUR, DEFAULT_COLOUR = "#d55e00", "#8a8a8a"
#: One for each strategy there is; the ink, as last, is the black of Okabe and Ito.
TEST_COLOURS = ("#0082c8", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
DASHES = ("-", "-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))

#: More thin lines than this are drawn as pixels: a vector file would grow too large.
MANY_RUNS = 60

WIDTH_IN, HEIGHT_IN = 4.8, 3.2

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "scxlab",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.facecolor": PAPER,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}


def colours(variants: Sequence[str]) -> dict[str, str]:
    """Return a colour per variant: control and default have always the same."""
    fixed = {CONTROL: CONTROL_COLOUR, DEFAULT: DEFAULT_COLOUR}
    tests = sorted(set(variants) - set(fixed))
    taken = {v: TEST_COLOURS[i % len(TEST_COLOURS)] for i, v in enumerate(tests)}
    return {v: (fixed | taken)[v] for v in variants}


def over_time(samples: pd.DataFrame, series: Series, text: Text) -> bytes:
    """Return every run a thin line and the median of each variant a thick one."""
    import seaborn as sns

    data = samples.dropna(subset=[series.column])
    with mpl.rc_context(rc()):
        figure, axes = framed(text)
        palette = colours(ordered(data["variant"]))
        sns.lineplot(
            data,
            x="timestamp",
            y=series.column,
            hue="variant",
            palette=palette,
            units="run",
            estimator=None,
            sort=False,
            linewidth=0.8,
            alpha=0.4,
            legend=False,
            ax=axes,
            rasterized=count_runs(data) > MANY_RUNS,
        )
        ends = _medians(axes, data, series.column, palette)
        axes.set_ylim(bottom=0)
        _limit(axes, series)
        axes.set_xlim(0, float(data["timestamp"].max()) or 1.0)
        axes.set_xlabel("time since the first sample (s)")
        axes.set_ylabel(series.label)
        _label_ends(axes, ends, palette)
        return svg(figure)


def metrics(values: pd.DataFrame, text: Text) -> bytes:
    """Draw a panel per metric: a point per run, a bar at a variant's median.

    `values`: columns variant, block, name, unit, lower_is_better, value. Runs of
    one block are joined.
    """
    panels = [rows for _, rows in values.groupby(["name", "unit"], sort=False)]
    order = ordered(values["variant"])
    each_in = 0.62 + 0.3 * len(order)
    with mpl.rc_context(rc()):
        figure, _ = framed(text, 0.1 + each_in * len(panels), axes=False)
        for i, rows in enumerate(panels):
            _metric_panel(figure.add_subplot(len(panels), 1, i + 1), rows, order)
        return svg(figure)


def in_order(values: pd.DataFrame, text: Text) -> bytes:
    """Draw the primary metric of each run in the order in which the runs were done.

    `values`: columns variant, place, name, unit, value; place counts from 1.
    """
    order = ordered(values["variant"])
    palette = colours(order)
    with mpl.rc_context(rc()):
        figure, axes = framed(text, 2.2)
        for variant in order:
            rows = values[values["variant"] == variant].sort_values("place")
            x, y = (rows[c].to_numpy(dtype=float) for c in ("place", "value"))
            axes.plot(x, y, color=palette[variant], linewidth=0.7, alpha=0.5)
            axes.plot(x, y, "o", color=palette[variant], ms=4, label=variant)
        first = values.iloc[0]
        axes.set_xlabel("place among the runs")
        axes.set_ylabel(f"{first['name']} ({first['unit']})")
        axes.set_ylim(*_around(values["value"].to_numpy(dtype=float)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False, ncols=len(order), loc="best")
        return svg(figure)


def _metric_panel(axes: Axes, values: pd.DataFrame, order: Sequence[str]) -> None:
    import seaborn as sns

    palette = colours(order)
    at = {v: i for i, v in enumerate(order)}
    for _, rows in values.assign(at=values["variant"].map(at)).groupby("block"):
        rows = rows.sort_values("at")
        x, y = (rows[c].to_numpy(dtype=float) for c in ("value", "at"))
        axes.plot(x, y, color=FAINT, linewidth=0.7, alpha=0.6, zorder=1)
    sns.stripplot(
        values, y="variant", x="value", order=order, hue="variant", palette=palette,
        hue_order=order, jitter=False, size=5.5, alpha=0.75, legend=False, ax=axes,
    )  # fmt: skip
    for name, middle in values.groupby("variant")["value"].median().items():
        row, colour = at[str(name)], palette[str(name)]
        ends = row - 0.32, row + 0.32
        axes.vlines(float(middle), *ends, color=colour, linewidth=2.6)
    first = values.iloc[0]
    better = "lower" if first["lower_is_better"] else "higher"
    axes.set_xlabel(f"{first['name']} ({first['unit']}), {better} is better")
    axes.set_ylabel("")
    axes.set_xlim(*_around(values["value"].to_numpy(dtype=float)))
    axes.set_ylim(len(order) - 0.4, -0.6)


def _around(values: estimators.Array) -> tuple[float, float]:
    """Return limits that show the values, but never blow up noise of less than 10 %."""
    low, high = float(values.min()), float(values.max())
    pad = max(0.15 * (high - low), 0.1 * max(abs(low), abs(high)), 1e-9)
    return (0.0 if low == 0 else low - pad), high + pad


def rc() -> Any:
    return {**_STYLE, "axes.grid": True}


def ordered(variants: pd.Series[str]) -> list[str]:
    first = {DEFAULT: 0, CONTROL: 1}
    return sorted(map(str, variants.unique()), key=lambda v: (first.get(v, 2), v))


def count_runs(data: pd.DataFrame) -> int:
    return len(data[["variant", "run"]].drop_duplicates())


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


def framed(
    text: Text, body_in: float = HEIGHT_IN, axes: bool = True
) -> tuple[Figure, Any]:
    """Return a figure with its words above; the axes below them, when asked for."""
    finding, basis = _wrap(text.finding, 55), _wrap(text.basis, 80)
    head = 0.17 * (finding.count("\n") + 1) + 0.14 * (basis.count("\n") + 1) + 0.2
    height = body_in + head
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.01, 0, 0.98, 1 - head / height))  # type: ignore[call-arg]
    below = 1 - (0.1 + 0.17 * (finding.count("\n") + 1) + 0.04) / height
    place: dict[str, Any] = {"x": 0.02, "ha": "left", "va": "top"}
    figure.text(y=1 - 0.1 / height, s=finding, fontsize=10, weight="bold", **place)
    figure.text(y=below, s=basis, fontsize=8, alpha=0.75, **place)
    return figure, figure.add_subplot() if axes else None


def _medians(
    axes: Axes, data: pd.DataFrame, column: str, palette: Mapping[str, str]
) -> dict[str, float]:
    """Draw them; where each of them ends on the y axis."""
    ends = {}
    for i, variant in enumerate(palette):
        time_s, middle = estimators.median_curve(
            data[data["variant"] == variant], column
        )
        if len(middle):
            dash: Any = DASHES[i % len(DASHES)]
            axes.plot(
                time_s, middle, color=palette[variant], linewidth=2.2, linestyle=dash
            )
            ends[variant] = float(middle[-1])
    return ends


def _limit(axes: Axes, series: Series) -> None:
    if np.isfinite(series.limit) and axes.get_ylim()[1] > 0.8 * series.limit:
        axes.axhline(series.limit, color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_ylim(top=max(axes.get_ylim()[1], series.limit * 1.08))
        axes.annotate(
            series.limit_label, (0, series.limit), (4, 2), fontsize=8, alpha=0.75,
            textcoords="offset points", va="bottom",
        )  # fmt: skip


def _label_ends(
    axes: Axes, ends: Mapping[str, float], palette: Mapping[str, str]
) -> None:
    """Write each variant's name right of its line's end, apart from others."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    for variant, y in spread(ends, axes.get_ylim()).items():
        axes.annotate(
            variant, (1, y), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", ha="left",
            color=palette[variant], weight="bold", annotation_clip=False,
        )  # fmt: skip


def spread(ends: Mapping[str, float], span: tuple[float, float]) -> dict[str, float]:
    """Return places near `ends`, in `span`, with a line of text's room each."""
    low, high = span
    gap = 0.07 * (high - low)
    names = sorted(ends, key=lambda name: ends[name])
    at = low - gap
    placed = {name: (at := max(ends[name], at + gap)) for name in names}
    at = high + gap
    return {name: (at := min(placed[name], at - gap)) for name in reversed(names)}


def svg(figure: Figure) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script which the font lacks is drawn as boxes; that is enough.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=empty)
    text = out.getvalue().decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    return text.encode()
