# SPDX-License-Identifier: GPL-2.0-only
"""What a machine has to set, told from a made-up /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.machine import settings
from tests.unit.machine.machine import POLICIES, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_setting_with_several_files_tells_every_value(machine: Machine) -> None:
    machine.write(POLICIES[1], "ondemand")
    row = settings.describe(settings.GOVERNOR, machine.root)
    assert row.now == "ondemand, powersave"
    assert (row.wanted, row.changeable) == ("performance", "yes")
    assert row.why


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for setting in settings.SHOWN:
        row = settings.describe(setting, tmp_path)
        assert (row.now, row.changeable) == ("not on this machine", "no")


def test_a_governor_that_the_driver_lacks_cannot_be_set(machine: Machine) -> None:
    for policy in POLICIES:
        choices = Path(policy).with_name("scaling_available_governors")
        machine.write(str(choices), "powersave schedutil")
    row = settings.describe(settings.GOVERNOR, machine.root)
    assert row.changeable == "no: no performance among: powersave schedutil"


@pytest.mark.parametrize(
    ("path", "now", "wanted"),
    [
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "0", "1"),
        ("sys/devices/system/cpu/cpufreq/boost", "1", "0"),
    ],
)
def test_turbo_has_two_places(tmp_path: Path, path: str, now: str, wanted: str) -> None:
    machine = Machine(tmp_path)
    machine.write(path, now)
    row = settings.describe(settings.TURBO, machine.root)
    assert (row.now, row.wanted) == (now, wanted)


def test_interrupts_are_only_looked_at(machine: Machine) -> None:
    row = settings.describe(settings.IRQ, machine.root)
    assert (row.now, row.wanted, row.changeable) == ("ff", "-", "no")
    assert "smp_affinity yourself" in row.why
    assert not settings.irqbalance(machine.root)
    machine.write("proc/77/comm", "irqbalance")
    assert settings.irqbalance(machine.root)


def test_of_the_console_levels_the_first_counts(machine: Machine) -> None:
    assert settings.values([settings.CONSOLE], machine.root) == {"console-level": "4"}
