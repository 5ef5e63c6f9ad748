# SPDX-License-Identifier: GPL-2.0-only
"""What is lost when a runner, its guest or file server is killed: nothing should be.

Real experiments in a directory that is thrown away, on a real kernel. One is done
undisturbed; then a runner is killed at each of its steps, and victims are killed at
random moments, and the experiment is gone on with until it is done, again and again.
After every fault what was finished has to be as it was, bit for bit, and nothing may be
left running; what is done in the end has to equal the undisturbed experiment.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import psutil

from experiments import paths
from experiments.errors import ExperimentError, RunFailed
from experiments.plan.config import Config, load_config
from experiments.run.runner import run_experiment
from experiments.store.experiment import Experiment
from experiments.store.verify import verify_experiment
from experiments.support import failpoints
from experiments.support.console import say
from experiments.support.files import fingerprint
from experiments.support.proc import end, last_lines, start

#: How many faults at random moments.
RANDOM = 100
_SEED = 1
_RUN_S = 2
#: A session takes so long at the most: a boot, a warm-up and all runs.
_SESSION_S = 300.0
#: Within so many seconds after its start a runner is killed at random.
_UP_TO_S = 18.0
_GONE_WITHIN_S = 5.0
_POLL_S = 0.05

_OURS = ("qemu-system-x86", "virtiofsd")
#: Who is killed, and by what; the runner itself survives the death of its guest.
_VICTIMS: dict[str, tuple[str, signal.Signals]] = {
    "runner, SIGKILL": ("", signal.SIGKILL),
    "runner, SIGINT": ("", signal.SIGINT),
    "runner, SIGTERM": ("", signal.SIGTERM),
    "QEMU, SIGKILL": (_OURS[0], signal.SIGKILL),
    "virtiofsd, SIGKILL": (_OURS[1], signal.SIGKILL),
}
#: Most faults are of the kind that can happen at most places.
_WEIGHTS = (6, 1, 1, 1, 1)

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """One fault: of which kind, whether it struck, and what was wrong afterwards."""

    kind: str
    struck: bool
    wrong: tuple[str, ...]


def measure(number: int = RANDOM) -> Rows:
    """Return rows of {fault, struck, survived, experiments}, at last their sums.

    `struck` are the faults that met somebody alive, `survived` those after which
    nothing was wrong. Raises RunFailed naming what was wrong, if anything was.
    """
    say(
        f"{len(failpoints.STEPS)} steps and {number} random moments: about half an hour"
    )
    with tempfile.TemporaryDirectory(prefix="scxlab-bench-") as directory:
        bench = _Bench(Path(directory))
        bench.undisturbed()
        found = [*bench.at_every_step(), *bench.at_random(number)]
        finished = bench.finished
    wrong = [f"{f.kind}: {what}" for f in found for what in f.wrong]
    if wrong:
        raise RunFailed("; ".join(wrong))
    kinds = dict.fromkeys(f.kind for f in found)
    rows = [_row(kind, [f for f in found if f.kind == kind]) for kind in kinds]
    return [*rows, _row(f"all; {finished} experiments finished", found)]


def _row(kind: str, found: list[Fault]) -> dict[str, Any]:
    struck = [f for f in found if f.struck]
    survived = sum(not f.wrong for f in struck)
    return {"fault": kind, "struck": len(struck), "survived": survived}


class _Bench:
    """Experiments below `folder`, one after another, each until it is done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rng = random.Random(_SEED)
        self.finished = 0

    # --- sessions ---------------------------------------------------------------------

    def undisturbed(self) -> None:
        session = _Session(self._folder, "undisturbed", {})
        session.until_ended()
        self._wanted = _outline(session.experiment)
        if session.code or len(self._wanted["runs"]) != len(self._wanted["plan"]):
            raise RunFailed(
                f"undisturbed, it ended with {session.code}: {session.said}"
            )

    def at_every_step(self) -> Iterator[Fault]:
        for step in failpoints.STEPS:
            at = {failpoints.ENVIRONMENT: step}
            yield self._fault(f"runner at “{step}”", at, _nobody)
            self._finish_if_done()

    def at_random(self, number: int) -> Iterator[Fault]:
        for _ in range(number):
            (kind,) = self._rng.choices(list(_VICTIMS), _WEIGHTS)
            delay_s = self._rng.uniform(0, _UP_TO_S)
            strike = partial(_Session.kill, kind=kind, delay_s=delay_s)
            yield self._fault(kind, {}, strike)
            self._finish_if_done()
        self._finish_if_done(at_last=True)

    def _fault(
        self,
        kind: str,
        environment: Mapping[str, str],
        strike: Callable[[_Session], Any],
    ) -> Fault:
        experiment = Experiment(self._folder / "disturbed")
        before = _hashes(experiment)
        with _Session(self._folder, "disturbed", environment) as session:
            strike(session)
            session.until_ended()
        wrong = [*session.wrong(), *_changed(before, _hashes(experiment))]
        fault = Fault(kind, session.struck, tuple(wrong))
        say(f"  {kind}: {'; '.join(wrong) or session.outcome}")
        return fault

    def _finish_if_done(self, at_last: bool = False) -> None:
        """Begin anew when all is done; the last one is brought to its end."""
        experiment = Experiment(self._folder / "disturbed")
        if not experiment.manifest_path.exists():
            return
        if at_last:
            _Session(self._folder, "disturbed", {}).until_ended()
        outline = _outline(experiment)
        if len(outline["runs"]) < len(outline["plan"]) and not at_last:
            return
        # Also what a runner left that died after its last run
        _Session(self._folder, "disturbed", {}).until_ended()
        outline = _outline(experiment)
        if outline != self._wanted:
            raise RunFailed(f"it ended as {outline}, undisturbed as {self._wanted}")
        if wrong := verify_experiment(experiment).wrong:
            raise RunFailed(f"verify: {wrong}")
        self.finished += 1
        shutil.rmtree(experiment.path)


def _nobody(session: _Session) -> None:
    """Return nobody: the runner kills itself."""


class _Session:
    """A runner in a process of its own, and all that it starts."""

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str]) -> None:
        self.experiment = Experiment(folder / name)
        self._log = folder / f"{name}.log"
        self.struck = environment == {}
        self._wants_death = bool(environment)
        self._family: set[psutil.Process] = set()
        self.code = 0
        with self._log.open("wb") as log:
            self._process: Popen[bytes] = start(
                [sys.executable, "-m", __name__, folder, name],
                stdout=log,
                stderr=STDOUT,
                cwd=paths.PROJECT,
                env={**os.environ, **environment},
            )

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *exception: object) -> None:
        end(self._process)

    @property
    def said(self) -> str:
        return last_lines(self._log.read_text(errors="replace"), 5)

    @property
    def outcome(self) -> str:
        if not self.struck:
            return "it was over before"
        done = len(_outline(self.experiment)["runs"])
        return f"ended with {self.code}, {done} runs are finished"

    def kill(self, kind: str, delay_s: float) -> None:
        """Kill such a process after `delay_s`, or as soon as there is one."""
        victim, sig = _VICTIMS[kind]
        self._wait(delay_s)
        deadline = time.monotonic() + _UP_TO_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := self._found(victim):
                found[0].send_signal(sig)
                return
            self._wait(_POLL_S)
        self.struck = False

    def _found(self, victim: str) -> list[psutil.Process]:
        self._look()
        if not victim:
            return [psutil.Process(self._process.pid)]
        return [p for p in self._family if p.is_running() and _name(p) == victim]

    def until_ended(self) -> None:
        deadline = time.monotonic() + _SESSION_S
        while self._process.poll() is None:
            self._wait(_POLL_S * 4)
            if time.monotonic() > deadline:
                end(self._process)
                raise RunFailed(f"it did not end within {_SESSION_S:g} s: {self.said}")
        self.code = self._process.returncode
        if self._wants_death:
            self.struck = self.code == -signal.SIGKILL

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            self._look()
            time.sleep(min(_POLL_S, seconds))

    def _look(self) -> None:
        """Remember all descendants: a dead process cannot be asked for them."""
        try:
            me = psutil.Process(self._process.pid)
            self._family |= set(me.children(recursive=True))
        except psutil.NoSuchProcess:
            pass

    def wrong(self) -> Iterator[str]:
        """Yield what is left running, and an end that is none of those there may be."""
        _, alive = psutil.wait_procs(list(self._family), _GONE_WITHIN_S)
        for process in alive:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                yield f"{_name(process)} ({process.pid}) is left running"
        if "Traceback" in self._log.read_text(errors="replace"):
            yield f"a traceback: {self.said}"


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())[:15]
    except psutil.NoSuchProcess:
        return ""


def _hashes(experiment: Experiment) -> dict[str, str]:
    """Return the hashes of all files of the finished runs."""
    if not experiment.manifest_path.exists():
        return {}
    specs = experiment.finished(experiment.manifest().specs)
    paths = [p for spec in specs for p in experiment.files(spec) if p.exists()]
    return {str(path): fingerprint(path).sha256 for path in paths}


def _changed(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for path, hashed in before.items():
        if after.get(path) != hashed:
            yield f"{path} is not as it was"


def _outline(experiment: Experiment) -> dict[str, Any]:
    """Return the plan, and of each finished run its outcome and the rows of its CSV."""
    if not experiment.manifest_path.exists():
        return {"plan": [], "runs": {}}
    manifest = experiment.manifest()
    stored = [s for spec in manifest.specs if (s := experiment.stored(spec))]
    return {
        "plan": [spec.run_id for spec in manifest.specs],
        "runs": {
            s.result.run_id: (s.result.outcome.value, s.files[".csv"].rows)
            for s in stored
            if ".csv" in s.files
        },
    }


def _settings() -> Config:
    return load_config(
        workloads=("custom-churn",),
        schedulers=("scx_simple",),
        cleanups=("scan",),
        duration_s=_RUN_S,
        sample_interval_s=0.5,
        iterations=3,
    )


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _main(folder: Path, name: str) -> int:
    # Who starts the bench in the background has SIGINT ignored in all that it starts
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        run_experiment(_settings(), name, folder)
    except KeyboardInterrupt:
        return 130
    except ExperimentError as error:
        say(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2]))
