# SPDX-License-Identifier: GPL-2.0-only
"""How far an experiment is, from its files alone: for another terminal, or a script."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.store import event_log
from experiments.store.experiment import LOCK, Experiment
from experiments.store.schema import NOT_NEEDED
from experiments.support import locks
from experiments.support.locks import Owner
from experiments.support.timespan import duration


@dataclass(frozen=True)
class Running:
    """A run that is being done: its label, which attempt, since when (s), and where.

    ``host`` is one of a cluster; empty on this machine.
    """

    run: str
    attempt: int
    since_s: float
    host: str = ""


@dataclass(frozen=True)
class ExperimentStatus:
    """``left_s`` and ``running`` are what the runner last said; None, () without one.

    ``stopped`` says how the last runner ended, where there is none now.
    """

    experiment: str
    planned: int
    done: int
    outcomes: Mapping[str, int]
    not_needed: int
    retries: int
    owner: Owner | None
    running: tuple[Running, ...]
    left_s: float | None
    stopped: str
    harness_share: float | None

    @property
    def is_complete(self) -> bool:
        return self.done + self.not_needed >= self.planned


def experiment_status(experiment: Experiment) -> ExperimentStatus:
    """Return how far an experiment is; FormatError when its manifest cannot be read."""
    manifest = experiment.manifest()
    owner = locks.owner(experiment.path / LOCK)
    session = _last_session(list(event_log.read(experiment.path)))
    unneeded = set(manifest.facts.get(NOT_NEEDED, ()))
    done = {spec.run_id for spec in experiment.finished(manifest.specs)}
    return ExperimentStatus(
        experiment=experiment.path.name,
        planned=len(manifest.specs),
        done=len(done),
        outcomes=dict(sorted(manifest.outcomes.items())),
        not_needed=sum(
            s.block in unneeded for s in manifest.specs if s.run_id not in done
        ),
        retries=manifest.retries,
        owner=owner,
        running=tuple(_running(session)) if owner else (),
        left_s=_left_s(session) if owner else None,
        stopped="" if owner else _how_it_stopped(session),
        harness_share=session[-1].get("harness_share") if session else None,
    )


def lines(found: ExperimentStatus) -> list[str]:
    """Return the status as lines for a person."""
    counts = ", ".join(f"{k} {n}" for k, n in found.outcomes.items()) or "none yet"
    said = [f"{found.experiment}: {found.done} of {found.planned} runs done: {counts}"]
    if found.not_needed:
        said.append(f"  {found.not_needed} runs are not needed: decided")
    if found.retries:
        said.append(f"  {found.retries} attempts were lost and repeated")
    if found.owner:
        said.append(f"  being run by {found.owner}")
        for run in found.running:
            attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
            where = f" on {run.host}" if run.host else ""
            said.append(f"  now {run.run}{where}{attempt}, {duration(run.since_s)}")
        if found.left_s is not None:
            said.append(f"  about {duration(found.left_s)} left")
    elif not found.is_complete:
        said.append(f"  nobody is running it: {found.stopped}")
        said.append(f"  to go on: invoke resume {found.experiment}")
    if found.harness_share is not None:
        said.append(f"  harness: {100 * found.harness_share:.1f} % of the time")
    return said


def _last_session(every: Sequence[event_log.Event]) -> Sequence[event_log.Event]:
    """Return the events of the runner that was last."""
    starts = [i for i, e in enumerate(every) if e["event"] == "started"]
    return every[starts[-1] :] if starts else ()


def _running(session: Sequence[event_log.Event]) -> Iterator[Running]:
    begun: dict[str, event_log.Event] = {}
    for event in session:
        if event["event"] == "run":
            begun[event["run"]] = event
        elif event["event"] in ("ended", "lost"):
            begun.pop(event["run"], None)
    for label, event in begun.items():
        host = event.get("host", "")
        yield Running(label, event["attempt"], _age_s(event), host)


def _age_s(event: event_log.Event) -> float:
    began = datetime.datetime.fromisoformat(event["time"])
    return (datetime.datetime.now(datetime.UTC) - began).total_seconds()


def _left_s(session: Sequence[event_log.Event]) -> float | None:
    """Return the last estimate, less the time since."""
    for event in reversed(session):
        if "left_s" in event:
            return max(0.0, float(event["left_s"]) - _age_s(event))
    return None


def _how_it_stopped(session: Sequence[event_log.Event]) -> str:
    if not session:
        return "no run was begun"
    last = session[-1]
    when = f"{duration(_age_s(last))} ago"
    return {
        "done": f"the last runner ended {when}",
        "interrupted": f"the last runner was interrupted {when}",
    }.get(last["event"], f"the last runner died; its last sign of life was {when}")
