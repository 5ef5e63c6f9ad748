# SPDX-License-Identifier: GPL-2.0-only
"""A guest, and the claim on this machine, for the blocks a host does of an experiment.

Its folder holds the block that is being done; those before were handed over.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cluster.bundle import Bundle, pack_run, read_file
from experiments.errors import ConfigError
from experiments.model import Plan, RunResult, RunSpec
from experiments.plan.blocks import build_plan
from experiments.plan.config import parse_config
from experiments.run.attempts import Stopped, run_one
from experiments.run.lanes import measuring_lock
from experiments.run.prepare import Prepared, prepare
from experiments.store.comparable import unlike
from experiments.store.experiment import Experiment
from experiments.support import locks
from experiments.support.console import say

#: Hears of the begin and the loss of runs, as `RunProgress` would.
ReportEvent = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class BlockRequest:
    """A block to do: all of ``specs``, one after another.

    ``token`` is one for all orders of one runner, ``facts`` those that all hosts share.
    """

    token: str
    experiment: str
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    specs: tuple[RunSpec, ...]


def prepare_for(config: Mapping[str, Any]) -> Prepared:
    """Build here what `config`, as a manifest has it, needs; raises as `prepare`."""
    parsed = parse_config(config, "the coordinator's request")
    return prepare(parsed, build_plan(parsed))


class Session:
    """A guest, and the claim on this machine, for the blocks of one experiment."""

    def __init__(
        self,
        request: BlockRequest,
        host: str,
        folder: Path,
        is_stopped: Callable[[], bool],
    ) -> None:
        self.token = request.token
        self._id = secrets.token_hex(4)
        self._host = host
        self._is_stopped = is_stopped
        self._sent: set[str] = set()
        self._closing = threading.Lock()
        with contextlib.ExitStack() as stack:
            self._claim(stack, request.experiment)
            prepared = prepare_for(request.config)
            _check_alike(request.facts, prepared.facts)
            self._built, self._backend = prepared.built, prepared.backend
            self._experiment = self._begin(stack, folder / self._id, request)
            stack.callback(self.interrupt)
            self._stack = stack.pop_all()

    def _claim(self, stack: contextlib.ExitStack, experiment: str) -> None:
        """Wait until nobody else measures here, and see that nobody begins."""

        def waiting(owner: str) -> None:
            say(f"{self._host}: waits until another experiment is done: {owner}")

        try:
            stack.enter_context(
                locks.queued(measuring_lock(), experiment, waiting, self._is_stopped)
            )
        except locks.GaveUp:
            raise Stopped from None

    def _begin(
        self, stack: contextlib.ExitStack, path: Path, request: BlockRequest
    ) -> Experiment:
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        nothing = Plan(0, ())
        experiment = Experiment.create(path, nothing, request.config, request.facts)
        self._backend.begin(experiment)
        return experiment

    def run_block(self, specs: Sequence[RunSpec], tell: ReportEvent) -> Bundle:
        self._clear(specs)
        reporter = _Reporter(self._host, tell)
        for spec in specs:
            run_one(
                self._experiment,
                self._backend,
                self._built,
                spec,
                reporter,
                self._is_stopped,
            )
        return self._pack(specs, reporter.wall_s)

    def _clear(self, specs: Sequence[RunSpec]) -> None:
        """Remove the files of earlier blocks, which were handed over; plan `specs`."""
        for spec in self._experiment.manifest().specs:
            for path in self._experiment.files(spec):
                path.unlink(missing_ok=True)
            for attempt in self._experiment.attempts(spec):
                shutil.rmtree(attempt)
        planned = Plan(0, tuple(specs))
        self._experiment.update(
            specs=planned.specs,
            plan_id=planned.plan_id,
            results={},
            outcomes={},
            retries=0,
        )

    def _pack(self, specs: Sequence[RunSpec], wall_s: Mapping[str, float]) -> Bundle:
        manifest = self._experiment.manifest()
        consoles = sorted((self._experiment.path / "boots").glob("*.log"))
        new = [path for path in consoles if path.name not in self._sent]
        self._sent |= {path.name for path in new}
        return Bundle(
            host=self._host,
            session=self._id,
            runs=tuple(
                pack_run(self._experiment, spec, wall_s[spec.run_id]) for spec in specs
            ),
            boots={boot["boot"]: boot for boot in manifest.boots},
            consoles=tuple(map(read_file, new)),
            retries=manifest.retries,
        )

    def interrupt(self) -> None:
        """End the guest, so that nobody waits for it; from any thread."""
        with self._closing:
            self._backend.close()

    def close(self) -> None:
        self._stack.close()


class _Reporter:
    """Passes on what the coordinator shows, and keeps how long runs took."""

    def __init__(self, host: str, tell: ReportEvent) -> None:
        self._host = host
        self._tell = tell
        self.wall_s: dict[str, float] = {}

    def begins(self, spec: RunSpec, attempt: int) -> None:
        self._pass_on("begins", spec, attempt)

    def tick(self, spec: RunSpec, text: str) -> None:
        """Drop it: of a hundred hosts it is more than anybody reads."""

    def lost(self, spec: RunSpec, attempt: int, reason: str) -> None:
        self._pass_on("lost", spec, attempt, reason=reason)

    def ended(self, result: RunResult, wall_s: float) -> None:
        self.wall_s[result.run_id] = wall_s
        said = f"{result.outcome:8} {result.spec.label}  {wall_s:.1f} s"
        say(f"{self._host}: {said}  {result.reason}".rstrip())

    def _pass_on(self, what: str, spec: RunSpec, attempt: int, **said: str) -> None:
        ids = {"host": self._host, "run_id": spec.run_id, "attempt": attempt}
        self._tell({"what": what, **ids, **said})


def _check_alike(agreed: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    if found := list(unlike(agreed, mine)):
        said = "; ".join(f"{what} is {y}, was {x}" for what, x, y in found[:3])
        raise ConfigError(f"this host is not what it was when it was asked: {said}")
