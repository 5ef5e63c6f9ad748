# SPDX-License-Identifier: GPL-2.0-only
"""What a host of a cluster does: say what it is, and do the blocks it is dealt.

It does not know who deals. Its lab root, its caches and its checkout are its own; what
it measures it keeps in a folder of its own until it has handed it over. One boot
serves the blocks of an experiment until another one comes, nothing comes for a while,
or it is told to stop.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments import paths
from experiments.cluster.bundle import Bundle
from experiments.cluster.session import BlockRequest, ReportEvent, Session, prepare_for
from experiments.errors import ConfigError, ExperimentError
from experiments.machine import facts
from experiments.support.console import say

#: A guest that is waited upon for so long ends, and with it the claim on the machine.
IDLE_S = 60.0

_ASK_AGAIN_S = 0.2


@dataclass(frozen=True)
class HostReport:
    """What a host is; ``problem`` is why it can take no part, or empty."""

    host: str
    revision: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Failure:
    """A host cannot do a block; that says nothing about the block."""

    host: str
    reason: str


class Host:
    """This machine, called `name`; its only thread that executes runs is the caller's.

    `folder` is for this alone: what another left there goes.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._revision = facts.revision(paths.PROJECT)
        self._source = facts.source_sha256(paths.PROJECT)
        self._session: Session | None = None
        self._timer: threading.Timer | None = None
        self._busy = threading.Lock()
        self._stopped: set[str] = set()
        self._is_closed = False
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def describe(
        self, config: Mapping[str, Any], source: str, revision: str
    ) -> HostReport:
        """Build what `config` needs; return the facts that runs here would have.

        `source` and `revision` are those of who asks.
        """
        say(f"{self._name}: asked what it is")
        try:
            self._check_code(source, revision)
            prepared = prepare_for(config)
            known = {**prepared.facts, "revision": self._revision}
        except (ExperimentError, OSError) as error:
            return HostReport(self._name, self._revision, problem=str(error))
        return HostReport(self._name, self._revision, known)

    def _check_code(self, source: str, revision: str) -> None:
        if self._source != source:
            raise ConfigError(
                f"its code is another ({self._revision}) than that of the coordinator "
                f"({revision}): check the same one out, and start the worker anew"
            )
        if facts.source_sha256(paths.PROJECT) != self._source:
            raise ConfigError(
                f"its files in {paths.PROJECT} are no longer those its worker was "
                "started with: start it anew"
            )

    def run_block(self, request: BlockRequest, tell: ReportEvent) -> Bundle | Failure:
        """Do a block from its begin to its end; raises Stopped when told to stop."""
        with self._busy:
            self._cancel_idle_timer()
            try:
                return self._session_of(request).run_block(request.specs, tell)
            except (ExperimentError, OSError) as error:
                self._end_session()
                say(f"{self._name}: {error}")
                return Failure(self._name, str(error))
            except BaseException:
                self._end_session()
                raise
            finally:
                self._start_idle_timer()

    def _is_stopped(self, token: str) -> bool:
        return self._is_closed or token in self._stopped

    def _session_of(self, request: BlockRequest) -> Session:
        if self._session is None or self._session.token != request.token:
            self._end_session()
            self._session = Session(
                request,
                self._name,
                self._folder,
                lambda: self._is_stopped(request.token),
            )
        return self._session

    def stop(self, token: str) -> None:
        """End what is done for the runner `token`; a run that is on ends.

        From any thread; returns when the guest has gone.
        """
        self._stopped.add(token)
        session = self._session
        if session is not None and session.token == token:
            with self._interrupted():
                self._end_session(session)

    def close(self) -> None:
        """Leave nothing behind; from any thread."""
        self._is_closed = True
        with self._interrupted():
            self._cancel_idle_timer()
            self._end_session()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _interrupted(self) -> Iterator[None]:
        """Interrupt the block that is being done, and let none begin inside `with`."""
        while not self._busy.acquire(timeout=_ASK_AGAIN_S):
            # Again and again, for a guest that was booting was nobody's yet
            if (session := self._session) is not None:
                session.interrupt()
        try:
            yield
        finally:
            self._busy.release()

    def _end_session(self, which: Session | None = None) -> None:
        """End the session, if any; the caller holds `_busy`."""
        if self._session is not None and which in (None, self._session):
            self._session.close()
            self._session = None

    def _cancel_idle_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_idle_timer(self) -> None:
        if self._session is not None:
            self._timer = threading.Timer(IDLE_S, self._on_idle, (self._session,))
            self._timer.daemon = True
            self._timer.start()

    def _on_idle(self, session: Session) -> None:
        # While a block is done there is no need to
        if self._busy.acquire(blocking=False):
            try:
                self._end_session(session)
            finally:
                self._busy.release()
