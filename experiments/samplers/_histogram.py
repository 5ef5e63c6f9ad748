# SPDX-License-Identifier: GPL-2.0-only
"""Log-linear histograms, as schedlat.bpf.c fills them: so many buckets an octave.

With four of them a bucket is at most a quarter of its lower bound wide, so a quantile
is off by 25 % at the most, and by less where a bucket is filled evenly; with 128 it is
off by less than 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence

COARSE, FINE = 4, 128


def bounds(bucket: int, per_octave: int = COARSE) -> tuple[float, float]:
    """Return the values, from and below, that bucket number `bucket` counts."""
    octave, part = divmod(bucket, per_octave)
    low, width = 2.0**octave, 2.0**octave / per_octave
    return low + part * width, low + (part + 1) * width


def quantile(
    counts: Sequence[int], share: float, per_octave: int = COARSE
) -> float | None:
    """Return the value below which `share` of the counts lie; None without any.

    Inside a bucket the counts are taken as spread evenly.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    below = 0
    for bucket, count in enumerate(counts):
        if count and below + count >= wanted:
            low, high = bounds(bucket, per_octave)
            return low + (high - low) * (wanted - below) / count
        below += count
    raise AssertionError("unreachable: the counts add up to their sum")


def highest(counts: Sequence[int]) -> float | None:
    """Return the upper bound of the last bucket that counts anything."""
    used = [bucket for bucket, count in enumerate(counts) if count]
    return bounds(used[-1])[1] if used else None
