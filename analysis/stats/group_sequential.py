# SPDX-License-Identifier: GPL-2.0-only
"""Looking a number of times that was set beforehand, at equal distances.

Whoever knows how often they will look pays much less than whoever may look at any
time. Every look is at the same nominal level (S. J. Pocock, "Group sequential methods
in the design and analysis of clinical trials", 1977), such that all of them together
err with alpha; the intervals at that level hold at all looks together (C. Jennison and
B. W. Turnbull, "Group Sequential Methods", 2000, chapter 9).

Whoever stops when an effect shows sees it too large. The estimate given is the one
whose expectation, with such stopping, is what was seen (J. Whitehead, "On the bias of
maximum likelihood estimation following a sequential test", 1986).

Between looks the sum of the standardised differences moves by a normal step of
variance 1; its density while no bound was crossed is integrated on a grid, look by look
(P. Armitage, C. K. McPherson and B. C. Rowe, 1969).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.integrate import trapezoid
from scipy.optimize import brentq

from analysis.stats.estimators import Array

_GRID = 101
#: Beyond so many standard deviations there is next to nothing.
_FAR = 8.0


@lru_cache
def nominal_alpha(looks: int, alpha: float) -> float:
    """Return the level of each look at which `looks` of them err with `alpha`."""
    if looks <= 1:
        return alpha
    bound = brentq(
        lambda b: 1 - _stays(b, looks) - alpha, stats.norm.isf(alpha / 2), _FAR
    )
    return float(2 * stats.norm.sf(bound))


def _stays(bound: float, looks: int) -> float:
    """Return the probability that no look is beyond the bound, without an effect."""
    grid, density = _first(bound, 0.0)
    for look in range(2, looks + 1):
        grid, density = _next(grid, density, bound, look, 0.0)
    return float(trapezoid(density, grid))


def _normal(x: Array) -> Array:
    """Return the density of the standard normal, without the checks of scipy's."""
    return np.asarray(np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi), dtype=float)


def _first(bound: float, drift: float) -> tuple[Array, Array]:
    grid = np.linspace(-bound, bound, _GRID)
    return grid, _normal(grid - drift)


def _next(
    grid: Array, density: Array, bound: float, look: int, drift: float
) -> tuple[Array, Array]:
    """Return sums at a look that are within its bound, and their density."""
    end = bound * np.sqrt(look)
    sums = np.linspace(-end, end, _GRID)
    return sums, _moved(grid, density, sums, drift)


def _moved(grid: Array, density: Array, sums: Array, drift: float) -> Array:
    steps = _normal(sums[:, None] - grid[None, :] - drift)
    return np.asarray(trapezoid(steps * density, grid, axis=1), dtype=float)


def unbiased(
    mean: float, sd: float, blocks: int, look: int, looks: int, alpha: float
) -> float:
    """Return the effect whose mean, seen after stopping like this, is `mean`.

    `sd` is that of a block, and `look`, of `looks`, came after `blocks` blocks.
    """
    if looks <= 1 or sd <= 0 or look < 1:
        return mean
    scale = sd / np.sqrt(blocks / look)  # of the mean of one look's worth of blocks
    bound = float(stats.norm.isf(nominal_alpha(looks, alpha) / 2))
    seen = mean / scale
    if abs(seen) >= _FAR:
        return mean
    found = brentq(
        lambda drift: _expected(drift, bound, looks) - seen,
        seen - 4.0,
        seen + 4.0,
        xtol=1e-4,
    )
    return float(found * scale)


def _expected(drift: float, bound: float, looks: int) -> float:
    """Return the expected mean, in steps, of who stops beyond the bound."""
    total = 0.0
    grid = density = np.empty(0)
    for look in range(1, looks + 1):
        end = bound * np.sqrt(look)
        far = np.linspace(-_FAR - end, _FAR + end, 4 * _GRID) + look * drift
        if look == 1:
            everywhere = _normal(far - drift)
        else:
            everywhere = _moved(grid, density, far, drift)
        is_stop = np.abs(far) >= end if look < looks else np.ones(len(far), dtype=bool)
        total += float(trapezoid(np.where(is_stop, far / look * everywhere, 0.0), far))
        grid, density = (
            _first(bound, drift)
            if look == 1
            else _next(grid, density, bound, look, drift)
        )
    return total
