# SPDX-License-Identifier: GPL-2.0-only
"""When a sample is due: absolute deadlines, and how late samples were."""

from __future__ import annotations

import time
from typing import Any

from experiments.support.quantiles import percentile


class Deadlines:
    """Samples at start, start + interval, ... until the duration is over.

    Deadlines are absolute, so lateness does not add up; those that passed while one
    sample was taken are counted, not made up for.
    """

    def __init__(self, duration_s: float, interval_s: float) -> None:
        self._interval = interval_s
        self._last = int(duration_s / interval_s + 1e-9)
        self._duration = duration_s
        self._start = time.monotonic()
        self._next = 0
        self._late_s: list[float] = []
        self.missed = 0

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def due(self) -> float | None:
        """Return the time since the start if a sample is due now.

        Each deadline once.
        """
        elapsed = self._elapsed()
        if self._next > self._last or elapsed < self._next * self._interval:
            return None
        latest = min(int(elapsed / self._interval), self._last)
        self.missed += latest - self._next
        self._next = latest + 1
        self._late_s.append(elapsed - latest * self._interval)
        return elapsed

    def facts(self) -> dict[str, Any]:
        """Return deadlines that were missed, and how late the others were (us)."""
        late_us = [s * 1e6 for s in self._late_s]
        if not late_us:
            return {"missed_deadlines": self.missed}
        lateness = {
            "p50": percentile(late_us, 50, "lower"),
            "p99": percentile(late_us, 99, "higher"),
            "max": max(late_us),
        }
        return {
            "missed_deadlines": self.missed,
            "lateness_us": {name: round(us, 1) for name, us in lateness.items()},
        }

    def over(self) -> bool:
        return self._elapsed() >= self._duration

    def next_in_s(self) -> float:
        following = min(self._next * self._interval, self._duration)
        if self._next > self._last:
            following = self._duration
        return max(0.0, following - self._elapsed())
