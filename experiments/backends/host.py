# SPDX-License-Identifier: GPL-2.0-only
"""Runs on this machine's own kernel, with its own tools, after asking once.

The agent is a process of its own. When it dies its scheduler goes with it; the run is
LOST, and the next one gets a new agent. Settings that runs change are restored at the
end, by a watchdog when we are killed, or by whoever comes next (machine/tuning.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.agent.client import Line
from experiments.agent.handing import CODE, Share, Stage
from experiments.errors import ConfigError, MissingRequirement
from experiments.kernel import sched_ext
from experiments.labroot import host_toolchain, kernel_image
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.machine import (
    caller,
    consent,
    settings,
    stale_state,
    tuning,
    watchdog,
)
from experiments.model import ALONE, Job, Lane, RunResult
from experiments.plan.config import Config
from experiments.plugins import Backend
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import LabRootFacts, MachineFacts
from experiments.support.console import say
from experiments.support.proc import end, killed_by, last_lines, start

_HELLO_TIMEOUT_S = 60.0
#: States of sched_ext in which nobody's scheduler is in charge.
_FREE = ("disabled", "")
_UNLOAD_TIMEOUT_S = 20.0
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
#: Page cache, dentries and inodes.
_EVERYTHING = "3\n"
#: Settings whose values before and during the runs are facts.
_RECORDED = (*settings.SHOWN, settings.CONSOLE)
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class HostBackend(Backend):
    name = "host"
    is_this_machine = True

    @classmethod
    def target(cls, config: Config) -> tuple[LabRoot, Kernel]:
        if config.vm.kernel is not None:
            raise ConfigError(
                "--kernel is booted in a VM; --backend host runs on the kernel there is"
            )
        tuning.require_root()
        if not sched_ext.available():
            raise MissingRequirement(
                f"this kernel ({platform.release()}) has no sched_ext: boot Linux 6.12 "
                "or later with CONFIG_SCHED_CLASS_EXT, or leave --backend host away"
            )
        own = tuning.Tuning()
        with own.held():
            _clean(own)
            _check_free()
        # Before anything that takes long
        consent.obtain(yes=False, module=consent.needs_module(config.cleanups))
        root = host_toolchain.open_tools()
        return root, kernel_image.running(root)

    def __init__(self, config: Config, root: LabRoot, kernel: Kernel) -> None:
        self._root = root
        self._kernel = kernel
        self._agent: _Agent | None = None
        self._boot_number = 0
        self._share: Share | None = None
        self._stage: Stage | None = None
        self._user = caller.user()
        self._tuning = tuning.Tuning()
        self._stack = contextlib.ExitStack()

    def begin(self, experiment: Experiment, lane: Lane = ALONE) -> None:
        """Make this machine ready for an experiment, and for none other.

        Raises ConfigError while another one runs, MissingRequirement while another
        scheduler is in charge.
        """
        self._stack.enter_context(_hang_up_is_interrupt())
        self._stack.enter_context(self._tuning.held())
        _clean(self._tuning)
        _check_free()
        self._stack.enter_context(watchdog.watching())
        self._experiment = experiment
        self._stage = Stage(experiment.path.resolve() / ".stage", lane)
        self._set()

    def _set(self) -> None:
        before = settings.values(_RECORDED)
        self._stack.callback(self._restore)
        for words in self._tuning.apply(tuning.OF_RUN, settings.OF_RUNS):
            say(f"  not as it should be: {words}")
        during = settings.values(_RECORDED)
        self._settings = {
            name: {"before": before[name], "during": during[name]} for name in before
        }
        known = self._experiment.manifest().facts
        self._experiment.update(facts={**known, "settings": self._settings})

    def _restore(self) -> None:
        for words in self._tuning.restore(tuning.OF_RUN):
            say(f"  {words}")

    def facts(self) -> Mapping[str, Any]:
        root = self._root
        return MachineFacts(
            backend=self.name,
            kernel=self._kernel.version,
            kernel_sha256=self._kernel.sha256,
            accel="none",
            accel_because="runs on the machine itself",
            labroot=LabRootFacts(root.key, root.suite, dict(root.packages)),
        ).written()

    def _ready(self) -> tuple[Share, _Agent]:
        if self._agent is None or self._share is None:
            assert self._stage is not None
            number = len(self._experiment.manifest().boots) + 1
            log = self._experiment.path / f"boots/agent{number}.log"
            folder = self._experiment.path.resolve() / ".host"
            self._share = Share(self._stage, folder, folder)
            self._agent = agent = _Agent(folder / CODE, log)
            said = {"boot_s": round(agent.boot_s, 2), "agent": dict(agent.facts)}
            said |= {"settings": self._settings}
            self._boot_number = self._experiment.add_boot(said)
        return self._share, self._agent

    def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        share, agent = self._ready()
        ours = [self._as_user(job) for job in jobs]
        return share.missing(agent.line, ours)

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        """Have the agent do a job; raises BackendLost when it dies under the run."""
        share, agent = self._ready()
        facts = {"boot": self._boot_number, "caches_dropped": _drop_caches()}
        return share.execute(agent.line, self._as_user(job), tick, facts)

    def _as_user(self, job: Job) -> Job:
        return dataclasses.replace(job, user=self._user)

    def renew(self) -> None:
        """Have the next run get a new agent, and leave nothing of this one."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
            stale_state.clean()
        if self._share is not None:
            self._share.close()
            self._share = None

    def close(self) -> None:
        try:
            self.renew()
        finally:
            self._stack.close()
            if self._stage is not None:
                self._stage.close()


class _Agent:
    """The agent as a process; its words that are no events go to `log`."""

    def __init__(self, code: Path, log: Path) -> None:
        self._log = log
        log.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        with log.open("wb") as stderr:
            self._process = start(
                [sys.executable, "-B", "-m", "experiments.agent", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=code,
                env=_env(),
                # It has a scheduler to unload, and a workload to end
                death_signal="TERM",
            )
        try:
            stale_state.remember(self._process.pid)
            self.line = Line(self._process, "agent", self._last_words)
            self.facts = self.line.hello(_HELLO_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - began

    def _last_words(self, _: str) -> str:
        if name := killed_by(self._process):
            return f"it got {name}"
        return last_lines(self._log.read_text(errors="replace"), 3) or "no message"

    def close(self) -> None:
        end(self._process, stale_state.END_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        if not self._log.stat().st_size:
            self._log.unlink()


def _clean(own: tuning.Tuning) -> None:
    """Put away what an experiment that was killed has left, a scheduler before all."""
    said = [*stale_state.clean(), *own.restore(tuning.OF_RUN)]
    for words in said:
        say(f"  left by an invoke that was killed: {words}")
    if said:
        sched_ext.wait_for(lambda now: now.state in _FREE, _UNLOAD_TIMEOUT_S)


def _check_free() -> None:
    """Raise MissingRequirement while somebody's scheduler is in charge."""
    status = sched_ext.status()
    if status.state not in _FREE:
        raise MissingRequirement(
            f"the scheduler {status.ops or '(without a name)'!r} is in charge here "
            f"({status.state}): stop the program or service that loaded it first"
        )


def _drop_caches() -> bool:
    """Drop the page cache, so that every run reads from disk; return if that worked."""
    try:
        _DROP_CACHES.write_text(_EVERYTHING)
    except OSError:
        return False
    return True


def _env() -> dict[str, str]:
    """Return programs as the user has them, their output as we can read it."""
    path = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{_SBIN}"
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}


@contextlib.contextmanager
def _hang_up_is_interrupt() -> Iterator[None]:
    """A terminal that is closed must not leave the machine changed.

    Under nohup SIGHUP is ignored, and stays so.
    """
    before = signal.getsignal(signal.SIGHUP)
    if before is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


BACKEND = HostBackend
