# SPDX-License-Identifier: GPL-2.0-only
"""A machine to tune: files as in /proc and /sys, in a directory of the test's own."""

from __future__ import annotations

from pathlib import Path

_CPU = "sys/devices/system/cpu"
POLICIES = [f"{_CPU}/cpufreq/policy{n}/scaling_governor" for n in range(2)]
PRINTK = "proc/sys/kernel/printk"
ASLR = "proc/sys/kernel/randomize_va_space"
SUBTREE = "sys/fs/cgroup/cgroup.subtree_control"
_BOOT_ID = "proc/sys/kernel/random/boot_id"


class Machine:
    """With two CPUs that save power, at its first boot."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for policy in POLICIES:
            self.write(policy, "powersave")
        self.write(PRINTK, "4\t4\t1\t7")
        self.write(ASLR, "2")
        self.write("proc/irq/default_smp_affinity", "ff")
        self.boot("first")

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n")

    def boot(self, boot_id: str) -> None:
        self.write(_BOOT_ID, boot_id)

    def words(self, *paths: str) -> list[str]:
        """The first word of each file."""
        return [(self.root / path).read_text().split()[0] for path in paths]
