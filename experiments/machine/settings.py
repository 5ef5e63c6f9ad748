# SPDX-License-Identifier: GPL-2.0-only
"""Settings of a machine that measurements depend on, and what would be better.

Files of /proc and /sys with one word that counts, the first; or, where a wanted value
begins with + or -, with words that are there or not. What a machine does not have is
said, and is no error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CPU = "sys/devices/system/cpu"
#: Which controllers the control groups below the root have.
_SUBTREE = "sys/fs/cgroup/cgroup.subtree_control"


@dataclass(frozen=True)
class Setting:
    """``places`` are globs below the root and the value wanted there.

    An empty value is one that we only look at, and ``hint`` says what to do about it.
    """

    name: str
    places: tuple[tuple[str, str], ...]
    why: str
    hint: str = ""

    def found(self, root: Path) -> Iterator[Place]:
        for pattern, wanted in self.places:
            for path in sorted(root.glob(pattern)):
                yield Place(path, wanted)


@dataclass(frozen=True)
class Place:
    """One file of a setting."""

    path: Path
    wanted: str

    def now(self) -> str:
        """Return its value; raises OSError."""
        return value(self.path, self.wanted)

    def refusal(self) -> str:
        """Return why it cannot have the wanted value here; empty when it can."""
        if not os.access(self.path, os.W_OK):
            return f"{self.path} cannot be written here"
        choices = self.path.with_name("scaling_available_governors")
        if self.path.name == "scaling_governor" and choices.exists():
            valid = choices.read_text().split()
            if self.wanted not in valid:
                return f"no {self.wanted} among: {' '.join(valid) or 'nothing'}"
        if is_switch(self.wanted):
            valid = self.path.with_name("cgroup.controllers").read_text().split()
            if self.wanted[1:] not in valid:
                return f"this kernel has no controller {self.wanted[1:]}"
        return ""


def is_switch(wanted: str) -> bool:
    return wanted[:1] in ("+", "-")


def value(path: Path, wanted: str) -> str:
    """Return the value of a file, in the terms of what is wanted of it."""
    words = path.read_text().split()
    if is_switch(wanted):
        return f"{'+' if wanted[1:] in words else '-'}{wanted[1:]}"
    return (words or [""])[0]


GOVERNOR = Setting(
    "governor",
    ((f"{_CPU}/cpufreq/policy*/scaling_governor", "performance"),),
    "a clock that follows the load makes the same work take different times",
)
TURBO = Setting(
    "turbo",
    ((f"{_CPU}/intel_pstate/no_turbo", "1"), (f"{_CPU}/cpufreq/boost", "0")),
    "how fast it makes a CPU depends on heat, and on what the others do",
)
ASLR = Setting(
    "aslr",
    (("proc/sys/kernel/randomize_va_space", "0"),),
    "where a program lies in memory changes its speed from process to process",
)
IRQ = Setting(
    "irq-affinity",
    (("proc/irq/default_smp_affinity", ""),),
    "interrupts take time from whatever runs on their CPUs",
    "where to put them depends on the devices: set /proc/irq/*/smp_affinity yourself",
)
CONSOLE = Setting(
    "console-level",
    (("proc/sys/kernel/printk", "1"),),
    "what the kernel says of an ejection would be printed at the speed of the console",
)

MEMORY, PIDS = (
    Setting(f"{name}-controller", ((_SUBTREE, f"+{name}"),), why)
    for name, why in (
        ("memory", "without it nobody knows which memory is the scheduler's"),
        ("pids", "without it a workload may take all process numbers there are"),
    )
)

#: What `invoke system` shows; tune changes those that have a wanted value.
SHOWN = (GOVERNOR, TURBO, ASLR, IRQ)
#: What every run on this machine's kernel changes for its time.
OF_RUNS = (GOVERNOR, CONSOLE, MEMORY, PIDS)


@dataclass(frozen=True)
class SettingRow:
    """A setting as it is: all words for the user."""

    setting: str
    now: str
    wanted: str
    changeable: str
    why: str


def describe(setting: Setting, root: Path) -> SettingRow:
    """Return what a user is told of a setting."""
    places = list(setting.found(root))
    if not places:
        return SettingRow(setting.name, "not on this machine", "-", "no", setting.why)
    values = _values(places)
    now = ", ".join(sorted(set(values)))
    wanted = ", ".join(sorted({p.wanted for p in places if p.wanted})) or "-"
    if not any(p.wanted for p in places):
        why = f"{setting.why}; {setting.hint}"
        return SettingRow(setting.name, now, wanted, "no", why)
    refusals = {r for p in places if (r := p.refusal())}
    can = f"no: {'; '.join(sorted(refusals))}" if refusals else "yes"
    return SettingRow(setting.name, now, wanted, can, setting.why)


def values(chosen: Sequence[Setting], root: Path = Path("/")) -> dict[str, str]:
    """Return what each of these settings is now, in words."""
    return {setting.name: describe(setting, root).now for setting in chosen}


def _values(places: Sequence[Place]) -> list[str]:
    values = []
    for place in places:
        try:
            values.append(place.now())
        except OSError as error:
            values.append(f"cannot be read ({error.strerror})")
    return values


def irqbalance(root: Path) -> bool:
    """Return whether a process of this name moves interrupts about."""
    for comm in root.glob("proc/[0-9]*/comm"):
        try:
            if comm.read_text().strip() == "irqbalance":
                return True
        except OSError:  # it has ended
            continue
    return False
