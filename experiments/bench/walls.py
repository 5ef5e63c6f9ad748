# SPDX-License-Identifier: GPL-2.0-only
"""Whether the walls hold: attacks on this machine by guests and by sources.

A guest is attacked from within, by a program that is root in it and sits where the
agent ought to; a build by a source. Both for real, on this machine, one after another.
An attack is held when nothing of the machine has changed, nothing of it is left
running, and the experiment goes on: the same run ends OK in the next guest.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from experiments import paths
from experiments.agent.handing import CODE, Grace, Share, Stage
from experiments.backends.vm import VmBackend
from experiments.bench import hostile_guest
from experiments.bench.hostile_sources import sources
from experiments.build.builder import Builder
from experiments.errors import ExperimentError, RunFailed
from experiments.labroot import lab_root
from experiments.model import (
    BuildRequest,
    Outcome,
    RunResult,
    RunSpec,
    Variant,
)
from experiments.plan.blocks import build_plan
from experiments.plan.config import Config, load_config
from experiments.plan.scheduler_source import OWN
from experiments.run.attempts import BuiltObjects, run_one
from experiments.run.prepare import build_all, target
from experiments.store.experiment import Experiment
from experiments.support import tempdirs
from experiments.support.console import say
from experiments.vm.guest import Guest

GUEST, BUILD = "guest", "build"
#: A hostile guest is not given the patience that a busy emulator is.
_GRACE = Grace(silence_s=20.0, slack_s=30.0)
_SECRET = f"secret-{secrets.token_hex(16)}"
#: Files of the machine that a source may want, by the name of the attack.
_OF_MACHINE = {
    "passwd": "/etc/passwd",
    "shadow": "/etc/shadow",
    "command_line": "/proc/cmdline",
    "environment": "/proc/1/environ",
    "kernel_notes": "/sys/kernel/notes",
}

Row = dict[str, Any]


def guest_attacks() -> tuple[str, ...]:
    return (*hostile_guest.ATTACKS, *hostile_guest.HELLOS)


def build_attacks() -> tuple[str, ...]:
    return tuple(_sources(""))


def _sources(neighbour: str) -> dict[str, str]:
    scheduler = paths.SCHEDULERS / "control/scx_simple.bpf.c"
    return sources({**_OF_MACHINE, "neighbour": neighbour}, scheduler.read_text())


def measure() -> list[Row]:
    """Return rows of {attack, where, held, words}; RunFailed when one was not held."""
    rows = [*against_builds(build_attacks()), *against_guests(guest_attacks())]
    if through := [row["attack"] for row in rows if not row["held"]]:
        raise RunFailed(f"not held: {', '.join(through)}")
    return rows


# --- what is looked at ----------------------------------------------------------------


def _listing(*folders: Path) -> dict[str, str]:
    """Return what is there, and a mark of each that changes with it.

    Of small files the bytes count, of others, as of a whole Debian, the time of the
    last change, which nobody can set.
    """
    found = {}
    for folder in folders:
        for place, names, files in os.walk(folder):
            names[:] = [name for name in names if name != "__pycache__"]
            for name in (*names, *files):
                path = f"{place}/{name}"
                found[path] = _mark(Path(path))
    return found


def _mark(path: Path) -> str:
    said = path.lstat()
    mark = f"{said.st_mode:o} {said.st_uid} {said.st_size} {said.st_ctime_ns}"
    is_small = path.is_file() and not path.is_symlink() and said.st_size < 1 << 16
    is_root = "labroot-" in str(path)
    if is_small and not is_root:
        mark = f"{said.st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return "" if path.is_dir() and not path.is_symlink() else mark


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(
        path
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    )


def _watched() -> list[Path]:
    """Return what no attack may change: code, objects, the lab root, kernels."""
    own = ("experiments", "workloads", "schedulers", "analysis", "build")
    return [*(paths.PROJECT / name for name in own), paths.cache_dir()]


def _left_running() -> list[str]:
    return [p.name() for p in psutil.Process().children(recursive=True)]


# --- guests ---------------------------------------------------------------------------


class _Besieged(VmBackend):
    """The next guest is hostile, and all that come after it are what they ought to be.

    What guests say of an attack that got through is in `broken`.
    """

    grace = _GRACE
    attack = ""

    def besiege(self, attack: str) -> None:
        self.renew()
        self.attack = attack

    def _boot(self) -> tuple[Guest, Share]:
        if not self.attack:
            return super()._boot()
        honest, attack, self.attack = self._stage, self.attack, ""
        self._stage = _Hostile(honest, self._run_dir / "hostile", attack)
        try:
            return super()._boot()
        finally:
            self._stage = honest


class _Hostile(Stage):
    """What an agent is handed, with another program in its place."""

    def __init__(self, honest: Stage, path: Path, attack: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(honest.made(), path)
        self._path = path
        agent = path / CODE / "experiments/agent/__main__.py"
        shutil.copyfile(hostile_guest.__file__, agent)
        (path / CODE / hostile_guest.CHOSEN.name).write_text(attack)


class _Listener:
    """Hears of one run."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.broken: list[str] = []

    def begins(self, spec: RunSpec, attempt: int) -> None:
        pass

    def tick(self, spec: RunSpec, text: str) -> None:
        if hostile_guest.BROKEN in text:
            self.broken.append(text)

    def lost(self, spec: RunSpec, attempt: int, reason: str) -> None:
        self.reasons.append(reason)

    def ended(self, result: RunResult, wall_s: float) -> None:
        self.result = result


def _config(runs: int) -> Config:
    return load_config(
        workloads=("custom-churn",),
        schedulers=("scx_simple",),
        cleanups=("none",),
        samplers=("bpf-map",),
        duration_s=1,
        sample_interval_s=0.5,
        iterations=runs,
    )


def against_guests(attacks: Sequence[str]) -> Iterator[Row]:
    """Yield a row for each attack of a guest, in one experiment."""
    config = _config(len(attacks) + 1)
    plan = build_plan(config)
    root, kernel = target(config)
    built = build_all(plan, root, kernel)
    backend = _Besieged(config, root, kernel)
    with tempdirs.directory("bench") as folder:
        (folder / "canary").write_text(_SECRET)
        experiment = Experiment.create(folder / "walls", plan, {}, {})
        backend.begin(experiment)
        try:
            first, *others = plan.specs
            run_one(experiment, backend, built, first, _Listener(), lambda: False)
            for attack, spec in zip(attacks, others, strict=True):
                yield _attack_by_guest(experiment, backend, built, attack, spec)
        finally:
            backend.close()


def _attack_by_guest(
    experiment: Experiment,
    backend: _Besieged,
    built: BuiltObjects,
    attack: str,
    spec: RunSpec,
) -> Row:
    before = _listing(*_watched())
    heard = _Listener()
    backend.besiege(attack)
    run_one(experiment, backend, built, spec, heard, lambda: False)
    backend.renew()
    wrong = [*heard.broken, *_changed(before, _listing(*_watched()))]
    wrong += [f"{name} runs" for name in _left_running()]
    wrong += [f"{path} is no file" for path in _no_files(experiment.path)]
    if heard.result.outcome is not Outcome.OK:
        wrong.append(f"the run ended {heard.result.outcome}: {heard.result.reason}")
    if not heard.reasons:
        wrong.append("what it said was taken for a run")
    return _row(attack, GUEST, wrong, heard.reasons[0] if heard.reasons else "")


def _no_files(folder: Path) -> Iterator[Path]:
    """Yield what is neither a plain file nor a directory, and names from elsewhere."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield path


def _row(attack: str, where: str, wrong: Sequence[str], words: str) -> Row:
    held = not wrong
    say(f"  {'held' if held else 'NOT HELD'}  {where}  {attack}: {words[:100]}")
    for what in wrong:
        say(f"    {what}")
    return {
        "attack": attack,
        "where": where,
        "held": held,
        "words": "; ".join(wrong) or words[:200],
    }


# --- builds ---------------------------------------------------------------------------


def against_builds(attacks: Sequence[str]) -> Iterator[Row]:
    """Yield a row for each attack of a source."""
    config = _config(1)
    builder = Builder(*target(config))
    with tempdirs.directory("bench") as folder:
        neighbour = folder / "neighbour.h"
        neighbour.write_text(f'char secret[] = "{_SECRET}";')
        texts = _sources(str(neighbour))
        for attack in attacks:
            source = folder / "attack.bpf.c"
            source.write_text(texts[attack])
            yield _attack_by_source(builder, attack, source)


def _attack_by_source(builder: Builder, attack: str, source: Path) -> Row:
    request = BuildRequest("walls", Variant("control", OWN, {}), source)
    made = paths.BUILD / "own-walls_control.bpf.o"
    log = made.with_suffix(".log")
    log.unlink(missing_ok=True)
    before = _listing(*_watched())
    words = "built, with nothing of the machine in it"
    try:
        builder.build(request)
    except ExperimentError as error:
        words = str(error)
    changed = _changed(before, _listing(*_watched()))
    wrong = [path for path in changed if path not in (str(log), str(made))]
    wrong += [f"{name} runs" for name in _left_running()]
    said = words.encode() + b"".join(f.read_bytes() for f in (log, made) if f.exists())
    for file in (log, made):
        file.unlink(missing_ok=True)
    wrong += [f"it was told what is in {path}" for path in _told(said)]
    if "\x1b" in words:
        wrong.append("it speaks to the terminal")
    return _row(attack, BUILD, wrong, words.replace("\n", " "))


def _told(said: bytes) -> Iterator[str]:
    """Yield the files of the machine of which there is something in `said`."""
    if _SECRET.encode() in said:
        yield "a neighbour of the source"
    for path in _OF_MACHINE.values():
        if (own := _of_machine_alone(path)) and own in said:
            yield path


def _of_machine_alone(path: str) -> bytes:
    """Return what is in a file of the machine, and not in the lab root's; maybe none.

    Of the environment of its first process, that which a container gave it.
    """
    try:
        own = Path(path).read_bytes()
        same = lab_root.place() / path.lstrip("/")
        return b"" if same.is_file() and same.read_bytes() == own else own
    except OSError:
        return b""
