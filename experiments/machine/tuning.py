# SPDX-License-Identifier: GPL-2.0-only
"""Change settings of the machine, and put back exactly what was changed.

What was there is written to a file before anything is changed, so that whoever comes
next can restore it, however we end. There are two layers: what the user tuned, until
`invoke system reset`, and upon it what a running experiment changes for its time. The
file is in /run, as it is about this machine and this boot; one of another boot, which a
/run on disk may have kept, is about settings that are gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError, MissingRequirement
from experiments.machine.settings import Place, Setting, is_switch, value
from experiments.support.files import atomic_write
from experiments.support.locks import Held, locked

#: What is known of this machine while it is up.
RUN_DIR = Path("/run/scxlab")
#: In it: held by whoever changes settings, so by an experiment on this kernel.
LOCK = "lock"
#: What a watchdog does that holds the lock.
RESTORING = "restores what a killed run has changed"
#: Longer than an agent, a scheduler and a module take to go.
_RESTORING_S = 90.0
_POLL_S = 0.2
#: The layers, the lowest first: they are restored from the top.
TUNED, OF_RUN = "tuned", "run"
_LAYERS = (TUNED, OF_RUN)
_BOOT_ID = Path("proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class SettingChange:
    """Of the file at `path`: what its value was, and what we write there."""

    setting: str
    path: str
    was: str
    made: str

    def apply(self) -> str:
        """Make it; what went wrong, or nothing."""
        try:
            Path(self.path).write_text(f"{self.made}\n")
            now = value(Path(self.path), self.made)
        except OSError as error:
            return f"{self.setting}: {self.path}: {error.strerror}"
        return "" if now == self.made else f"{self.setting}: {self.path} stays {now}"

    def revert(self) -> str:
        """Put back what was there, unless somebody else has changed it since.

        What was done, or nothing. Raises OSError.
        """
        now = value(Path(self.path), self.made)
        if now == self.was:
            return ""
        if now != self.made:
            return f"{self.setting}: {self.path} is {now}, which is not ours: left so"
        try:
            Path(self.path).write_text(f"{self.was}\n")
        except OSError as error:
            if error.errno != errno.EBUSY or not is_switch(now):
                raise
            return f"{self.setting}: {self.path}: others use {now} by now: left so"
        return f"{self.setting}: {self.path} is {self.was} again"


def require_root() -> None:
    """Raise MissingRequirement unless we are root of the machine itself."""
    if os.geteuid() != 0:
        raise MissingRequirement(
            "this changes the machine itself, which takes root: sudo -E"
        )


Layers = dict[str, list[SettingChange]]


class Tuning:
    """Settings below `root`, remembered in `folder`."""

    def __init__(self, root: Path = Path("/"), folder: Path = RUN_DIR) -> None:
        self._root = root
        self._file = folder / "settings.json"
        self._lock = folder / LOCK

    @contextlib.contextmanager
    def held(self, what: str = "") -> Iterator[None]:
        """Nobody else changes settings meanwhile; ConfigError names who does.

        The kernel drops the lock of one that died. A watchdog that restores is waited
        for, as it takes seconds.
        """
        deadline = time.monotonic() + _RESTORING_S
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(self._lock, what))
                    break
                except Held as held:
                    self._refuse(held, deadline)
                except OSError as error:
                    raise MissingRequirement(
                        f"{self._lock} cannot be written ({error.strerror}): this "
                        "needs root"
                    ) from None
            yield

    def _refuse(self, held: Held, deadline: float) -> None:
        """Raise ConfigError for the lock of another, unless it is soon to be free."""
        if held.owner is None or held.owner.what != RESTORING:
            raise ConfigError(
                "another experiment is running on this machine's own kernel, by "
                f"{held}: wait for it, or stop it"
            ) from None
        if time.monotonic() > deadline:
            raise ConfigError(f"{held} does not end: see {RUN_DIR}/watchdog.log")
        time.sleep(_POLL_S)

    def apply(self, layer: str, settings: Sequence[Setting]) -> list[str]:
        """Give these settings their wanted values; what could not be done.

        Those that have them already are not touched, nor restored later.
        """
        changes, refused = [], []
        for setting in settings:
            for place in setting.found(self._root):
                if not place.wanted:
                    continue
                if reason := _refusal(place):
                    refused.append(f"{setting.name}: {reason}")
                elif (now := place.now()) != place.wanted:
                    path = str(place.path)
                    changes.append(SettingChange(setting.name, path, now, place.wanted))
        layers = self._read()
        known = {(change.setting, change.path) for change in layers[layer]}
        # What was there before us is what we met the first time
        layers[layer] += [c for c in changes if (c.setting, c.path) not in known]
        self._write(layers)
        return refused + [words for change in changes if (words := change.apply())]

    def restore(self, layer: str) -> list[str]:
        """Put back what `layer` and those above it changed; what was done.

        What cannot be put back now stays remembered.
        """
        said, layers = [], self._read()
        for name in reversed(_LAYERS[_LAYERS.index(layer) :]):
            kept: list[SettingChange] = []
            for change in reversed(layers[name]):
                try:
                    words = change.revert()
                except FileNotFoundError:
                    words = f"{change.setting}: {change.path} is gone"
                except OSError as error:
                    words = f"{change.setting}: {change.path}: {error.strerror}"
                    kept.insert(0, change)
                said += [words] if words else []
            layers[name] = kept
        self._write(layers)
        return said

    def changes(self, layer: str) -> list[SettingChange]:
        """Return what is changed now in this layer."""
        return self._read()[layer]

    def _boot(self) -> str:
        return (self._root / _BOOT_ID).read_text().strip()

    def _read(self) -> Layers:
        said: dict[str, Any] = {}
        try:
            said = json.loads(self._file.read_text())
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise ConfigError(
                f"{self._file} is damaged ({error}): see in it what was changed, put "
                "that back, and remove the file"
            ) from None
        if said.get("boot_id") != self._boot():
            said = {}
        return {n: [SettingChange(**c) for c in said.get(n, ())] for n in _LAYERS}

    def _write(self, layers: Layers) -> None:
        if not any(layers.values()):
            self._file.unlink(missing_ok=True)
            return
        stored = {n: [dataclasses.asdict(c) for c in layers[n]] for n in _LAYERS}
        said = {"boot_id": self._boot(), **stored}
        atomic_write(self._file, json.dumps(said, indent=1))


def _refusal(place: Place) -> str:
    try:
        place.now()
    except OSError as error:
        return f"{place.path} cannot be read ({error.strerror})"
    return place.refusal()
