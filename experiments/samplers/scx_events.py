# SPDX-License-Identifier: GPL-2.0-only
"""What sched_ext's core counts of the loaded scheduler: where it had to step in.

/sys/kernel/sched_ext/root/events, Linux 6.15 and later. Counters that came after these
columns are a fact of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.columns import Column, Kind
from experiments.kernel import sched_ext
from experiments.model import Job, LoadedScheduler
from experiments.plugins import Sampler

_PREFIX = "SCX_EV_"
#: Older names of what they are called now.
_RENAMED = {"SCX_EV_ENQ_SLICE_DFL": "SCX_EV_REFILL_SLICE_DFL"}  # Linux 6.15
_NS = "bypass_duration"
_MEANINGS = {
    "select_cpu_fallback": "CPUs picked for a task that may not run on its choice",
    "dispatch_local_dsq_offline": "tasks sent to an offline CPU, run elsewhere",
    "dispatch_keep_last": "slices given again, as there was nobody else",
    "enq_skip_exiting": "exiting tasks the scheduler was not asked about",
    "enq_skip_migration_disabled": "tasks that cannot move it was not asked about",
    "reenq_immed": "tasks enqueued again, as their CPU was not free at once",
    "reenq_local_repeat": "rounds of enqueuing again that had to be repeated",
    "refill_slice_dfl": "default slices given, as the scheduler gave none",
    "bypass_duration": "time in bypass, when the core schedules",
    "bypass_dispatch": "tasks dispatched in bypass",
    "bypass_activate": "times that bypass began",
    "insert_not_owned": "inserts of tasks that the scheduler did not have",
    "sub_bypass_dispatch": "tasks of a sub-scheduler in bypass, run by its parent",
}


def _column(name: str, meaning: str) -> Column:
    if name == _NS:
        return Column("scx_bypass_ns", "ns", meaning, Kind.COUNTER)
    return Column(f"scx_{name}", "events", meaning, Kind.COUNTER)


_COLUMNS = {n: _column(n, meaning) for n, meaning in _MEANINGS.items()}


def _by_column(events: Mapping[str, int]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the values of columns, and the counters that are none."""
    values, more = {}, {}
    for event, count in events.items():
        name = _RENAMED.get(event, event).removeprefix(_PREFIX).lower()
        if name in _COLUMNS:
            values[_COLUMNS[name].name] = float(max(0, count))
        else:
            more[event] = count
    return values, more


class ScxEventsSampler(Sampler):
    name = "scx-events"
    columns = tuple(_COLUMNS.values())

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None:
        self._is_loaded = bool(loaded.ops_name)

    def missing(self) -> Sequence[str]:
        if not self._is_loaded:
            return ("no scheduler is loaded",)
        if not sched_ext.events():
            return ("the kernel counts no events of sched_ext (before Linux 6.15)",)
        return ()

    def sample(self) -> Mapping[str, float]:
        return _by_column(sched_ext.events())[0]

    def finish(self) -> Mapping[str, Any]:
        more = _by_column(sched_ext.events())[1]
        return {"scx_events_beside_columns": more} if more else {}


SAMPLER = ScxEventsSampler
