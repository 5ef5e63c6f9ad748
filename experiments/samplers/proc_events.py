# SPDX-License-Identifier: GPL-2.0-only
"""Life times of tasks by the kernel's proc connector; lost events are counted.

Not on by default: it costs the system under test an event for every fork and exit. The
messages are kept as they come and read after the workload has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.kernel.proc_connector import Kind, ProcConnector, ProcEvent, parse
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler
from experiments.support.quantiles import percentile

_PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}


def lost(events: Iterable[ProcEvent]) -> int:
    """Return how many events are missing, as each CPU numbers its own."""
    last: dict[int, int] = {}
    missing = 0
    for event in events:
        if event.cpu in last:
            missing += event.seq - last[event.cpu] - 1
        last[event.cpu] = event.seq
    return missing


def life_times_ms(events: Iterable[ProcEvent]) -> list[float]:
    """Return the lives of tasks that began and ended while the connector listened."""
    born: dict[int, int] = {}
    found = []
    for event in sorted(events, key=lambda e: e.time_ns):
        if event.kind is Kind.FORK:
            born[event.pid] = event.time_ns
        elif event.kind is Kind.EXIT and event.pid in born:
            found.append((event.time_ns - born.pop(event.pid)) / 1e6)
    return found


def summary_ms(times: Sequence[float]) -> dict[str, float]:
    """Return percentiles and the longest; empty for less than two."""
    if len(times) < 2:
        return {}
    found = {name: percentile(times, p, "linear") for name, p in _PERCENTILES.items()}
    return {k: round(v, 3) for k, v in (found | {"max": max(times)}).items()}


class ProcEventsSampler(Sampler):
    name = "proc-events"
    by_default = False

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._messages: list[bytes] = []
        self._connector: ProcConnector | None = None
        self._reasons: Sequence[str] = ()
        try:
            self._connector = ProcConnector()
        except OSError as error:
            self._reasons = (f"no proc connector (CONFIG_PROC_EVENTS): {error}",)

    def missing(self) -> Sequence[str]:
        return self._reasons

    def sample(self) -> Mapping[str, float]:
        assert self._connector is not None
        self._messages.extend(self._connector.messages())
        return {}

    def finish(self) -> Mapping[str, Any]:
        assert self._connector is not None
        self.sample()
        numbered = [event for m in self._messages if (event := parse(m))]
        kinds = Counter(event.kind for event in numbered)
        return {
            "proc_events": {
                "forks": kinds[Kind.FORK],
                "exits": kinds[Kind.EXIT],
                "lost": lost(numbered),
                "overflows": self._connector.overflows,
                "life_time_ms": summary_ms(life_times_ms(numbered)),
            }
        }

    def close(self) -> None:
        if self._connector is not None:
            self._connector.close()


SAMPLER = ProcEventsSampler
