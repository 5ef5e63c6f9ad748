# SPDX-License-Identifier: GPL-2.0-only
"""What one sees of an experiment while it runs: here, and in events.jsonl elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)

from experiments.model import Outcome, RunResult, RunSpec
from experiments.store.event_log import EventLog
from experiments.store.experiment import Experiment
from experiments.support.console import console, say
from experiments.support.timespan import duration

#: What a run takes beyond its workload, until runs have shown it.
HARNESS_ESTIMATE_S = 2.0

_COLUMNS = (
    TextColumn("{task.description}", markup=False),  # a guest has a say in it
    BarColumn(bar_width=20),
    MofNCompleteColumn(),
    TextColumn("{task.fields[left]}", markup=False),
)


def estimate_s(
    specs: Sequence[RunSpec], harness_s: float = HARNESS_ESTIMATE_S
) -> float:
    """Return how long `specs` take one after another."""
    return sum(spec.duration_s + harness_s for spec in specs)


class RunProgress:
    """Told of every step; used by all lanes at once."""

    def __init__(
        self, experiment: Experiment, pending: Sequence[RunSpec], lanes: int = 1
    ) -> None:
        self._events = EventLog(experiment.path)
        self._left = {spec.run_id: spec for spec in pending}
        self._lanes = lanes
        self._lanes_since = time.monotonic()
        self._lane_s = 0.0
        self._counts: Counter[Outcome] = Counter()
        self._now: dict[str, str] = {}
        self._noted: set[str] = set()
        self._workload_s = 0.0
        self._harness_s: list[float] = []
        self._planned = len(experiment.manifest().specs)
        self._progress = Progress(*_COLUMNS, console=console, transient=True)
        self._task = self._progress.add_task("", total=len(pending), left="")

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show progress inside `with`, and log its beginning and what ended it."""
        ended = "interrupted"
        runs, planned = len(self._left), self._planned
        self._event("started", pending=runs, planned=planned, lanes=self._lanes)
        try:
            with self._progress:
                self._update()
                yield
            ended = "done"
        finally:
            self._event(ended, **self.harness())
            self._say_harness()

    def doing(self, what: str) -> None:
        """Show what belongs to no run: a boot, the question what is missing."""
        self._now[""] = what
        self._update()

    def happened(self, event: str, text: str, **said: Any) -> None:
        """Show for good what belongs to no run and is worth a line."""
        self._event(event, **said)
        say(f"  {text}")

    def begins(self, spec: RunSpec, attempt: int, host: str = "") -> None:
        """Show and log that a run begins, on `host` if it is one of a cluster."""
        self._now.pop("", None)
        self._now[spec.run_id] = f"{spec.label} on {host}" if host else spec.label
        ids = {"run": spec.label, "run_id": spec.run_id}
        self._event("run", **ids, attempt=attempt, **_on(host))
        self._update()

    def tick(self, spec: RunSpec, text: str) -> None:
        self._now[spec.run_id] = f"{spec.label}: {text}"
        self._update()

    def lost(self, spec: RunSpec, attempt: int, reason: str, host: str = "") -> None:
        said = {"run": spec.label, "attempt": attempt, "reason": reason}
        self._event("lost", **said, **_on(host))
        say(f"  {spec.label}: attempt {attempt} LOST: {reason}")

    def ended(self, result: RunResult, wall_s: float, host: str = "") -> None:
        spec = result.spec
        self._now.pop(spec.run_id, None)
        del self._left[spec.run_id]
        self._counts[result.outcome] += 1
        if result.outcome is Outcome.OK:
            self._workload_s += spec.duration_s
            self._harness_s.append(wall_s - spec.duration_s)
        self._event(
            "ended",
            run=spec.label,
            run_id=spec.run_id,
            outcome=result.outcome.value,
            reason=result.reason,
            wall_s=round(wall_s, 2),
            left_s=round(self.left_s()),
            **_on(host),
        )
        self._progress.advance(self._task)
        self._update()
        done = self._planned - len(self._left)
        count = f"{done:>{len(str(self._planned))}}/{self._planned}"
        where = f"{host}: " if host else ""
        say(f"  {count} {where}{_line(result, wall_s)}")
        self._say_once(settings_note(result))

    def _say_once(self, note: str) -> None:
        if note and note not in self._noted:
            self._noted.add(note)
            say(f"  {note}")

    def unneeded(self, spec: RunSpec) -> None:
        del self._left[spec.run_id]
        self._progress.advance(self._task)

    def set_lanes(self, lanes: int) -> None:
        """Set how many runs are done at once from now on."""
        self._lane_s = self._lane_seconds()
        self._lanes, self._lanes_since = lanes, time.monotonic()

    def _lane_seconds(self) -> float:
        return self._lane_s + (time.monotonic() - self._lanes_since) * self._lanes

    def left_s(self) -> float:
        """Return how long the rest will take, by how long it took so far."""
        seen = self._harness_s
        harness_s = max(0.0, median(seen)) if seen else HARNESS_ESTIMATE_S
        return estimate_s(tuple(self._left.values()), harness_s) / max(1, self._lanes)

    def harness(self) -> Mapping[str, Any]:
        """Return how much time went by beside workloads: boots, loading, set-backs."""
        wall_s = self._lane_seconds()
        share = 1 - self._workload_s / wall_s if wall_s else 0.0
        return {"wall_s": round(wall_s, 1), "harness_share": round(share, 4)}

    def _say_harness(self) -> None:
        if self._workload_s:
            said = self.harness()
            say(
                f"  harness: {100 * said['harness_share']:.1f} % of "
                f"{duration(said['wall_s'])}; the rest is workloads that ended OK"
            )

    def _event(self, event: str, **said: Any) -> None:
        self._events.add(event, **said)

    def _update(self) -> None:
        counts = ", ".join(f"{k} {n}" for k, n in sorted(self._counts.items()))
        words = "; ".join(filter(None, (counts, *self._now.values())))
        left = f"{duration(self.left_s())} left"
        self._progress.update(self._task, description=words or "starting", left=left)


def settings_note(result: RunResult) -> str:
    """Return which numbers in read-only data nobody has set; empty if none is 0."""
    at_0 = result.facts.get("settings_at_0")
    if not at_0:
        return ""
    return (
        f"{result.spec.scheduler}: 0 in its read-only data: "
        f"{', '.join(map(str, at_0))} (--set NAME=VALUE sets them)"
    )


def _on(host: str) -> dict[str, str]:
    return {"host": host} if host else {}


def _line(result: RunResult, wall_s: float) -> str:
    """Return one finished run, for the log."""
    metrics = ", ".join(f"{m.name} {m.value:.4g} {m.unit}" for m in result.metrics)
    what = metrics if result.outcome is Outcome.OK else result.reason
    what += "".join(f"  FLAGGED: {flag}" for flag in result.facts.get("flags", ()))
    return f"{result.outcome:8} {result.spec.label}  {wall_s:.1f} s  {what}"
