# SPDX-License-Identifier: GPL-2.0-only
"""The host backend, on a machine that may be hurt: a guest plays the user's machine.

It has the checkout, the Python of these tests with its packages, and objects that were
built outside, as compilers take long under an emulator.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import paths
from experiments.agent.client import Answer, Patience
from experiments.labroot import lab_root
from experiments.labroot.cell import Bind, Limits
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import Outcome
from experiments.paths import PROJECT
from experiments.plan.blocks import build_plan
from experiments.plan.config import default_columns, load_config
from experiments.run.prepare import build_all
from experiments.store.experiment import Experiment
from experiments.support.files import let_read
from experiments.vm import accel
from experiments.vm.guest import Guest
from experiments.vm.qemu_command import GUEST_ROOT, SHARE, Shape

HERE = Path(__file__).parent / "host"
#: What the user of the guest has, in memory.
HOME = Path("/run/home")
SAID = f"{HOME}/said"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
SHORT: dict[str, Any] = {
    "workloads": ["custom-churn"],
    "iterations": 1,
    "duration_s": 3,
    "sample_interval_s": 1,
}
#: Where it is not about what is measured.
SHORTER = {**SHORT, "duration_s": 2, "cleanups": ["none"], "samplers": ["bpf-map"]}


class UsersMachine(Guest):
    """A guest that also sees the Python that runs this."""

    def _spawn(
        self,
        name: str,
        argv: Sequence[str],
        binds: Sequence[Bind],
        limits: Limits,
        fds: Sequence[int],
        stdio: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        if name == "virtiofsd":
            seen = f"{GUEST_ROOT}{SHARE}"
            packages = Path(sysconfig.get_path("purelib"))
            binds = [
                *binds,
                Bind(Path(sys.base_prefix), f"{seen}/python"),
                Bind(packages, f"{seen}/venv/lib/{VERSION}/site-packages"),
            ]
        return super()._spawn(name, argv, binds, limits, fds, stdio)

    def do(self, action: str, *arguments: Any) -> Any:
        return self._ask(action, *arguments).done["value"]

    def fetch(self, folder: Path, target: Path) -> None:
        """Get a directory of the guest's."""
        tar = self._ask("fetch", str(folder)).files["workload.log"]
        with tarfile.open(fileobj=io.BytesIO(tar)) as packed:
            packed.extractall(target)  # Python 3.11.2 has no filter

    def _ask(self, action: str, *arguments: Any) -> Answer:
        asked = json.dumps({"do": action, "with": arguments})
        return self.line.ask(asked, Patience(300, 300))


class Host:
    """The machine, its checkout, and what a user does there."""

    def __init__(self, root: LabRoot, kernel: Kernel, path: Path) -> None:
        self._root, self._kernel = root, kernel
        self.share = path / "share"
        self._fetched = path / "fetched"
        self._stage()
        let_read(self.share)
        shape = Shape(2, 1536, accel.choose(root, kernel)[0])
        self.machine = UsersMachine(root, kernel, shape, self.share, path / "run")

    def _stage(self) -> None:
        checkout = self.share / "checkout"
        for name in ("experiments", "workloads", "schedulers"):
            shutil.copytree(PROJECT / name, checkout / name)
        shutil.copy(PROJECT / "config.yaml", checkout)
        cache = self.share / "cache/scxlab"
        cache.mkdir(parents=True)
        # The machine is one that has a lab root, in that it is one
        (cache / lab_root.place().name).symlink_to("/")
        code = self.share / "code/experiments"
        code.mkdir(parents=True)
        (code / "__init__.py").touch()
        shutil.copy(HERE / "starter.py", code / "agent.py")
        shutil.copy(HERE / "driver.py", self.share)
        (self.share / "python").mkdir()
        (self.share / f"venv/lib/{VERSION}/site-packages").mkdir(parents=True)
        (self.share / "venv/bin").mkdir()
        (self.share / "venv/bin/python").symlink_to(f"../../python/bin/{VERSION}")
        (self.share / "venv/pyvenv.cfg").write_text(
            f"home = {SHARE}/python/bin\ninclude-system-site-packages = false\n"
        )

    def build(self) -> None:
        """As the guest would, and faster; its stamps make it believe so."""
        version, sha256 = self.machine.do("kernel")
        kernel = dataclasses.replace(self._kernel, version=version, sha256=sha256)
        where = self.share / "build"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "BUILD", where)
            patch.setattr(paths, "BIN", where / "bin")
            build_all(build_plan(load_config(None, **SHORT)), self._root, kernel)
        assert self.shell(f"cp -a {SHARE}/build {HOME}/checkout") == ""

    def start(self, command: str, *arguments: Any) -> int:
        return int(self.machine.do("start", SAID, command, *arguments))

    def wait(self, pid: int) -> tuple[int, str]:
        return self.machine.do("wait", pid), self.said()

    def said(self) -> str:
        return str(self.machine.do("shell", f"cat {SAID}"))

    def run(self, name: str, **flags: Any) -> tuple[int, str]:
        return self.wait(self.start("run", name, True, {**SHORT, **flags}))

    def shell(self, script: str) -> str:
        return str(self.machine.do("shell", script)).strip()

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        self.machine.do("kill", pid, number)

    def console_level(self) -> int:
        return int(self.shell("cat /proc/sys/kernel/printk").split()[0])

    def experiment(self, name: str) -> Experiment:
        """Return a copy of the guest's."""
        shutil.rmtree(self._fetched, ignore_errors=True)
        self.machine.fetch(HOME / "checkout/results", self._fetched)
        return Experiment(self._fetched / "results" / name)

    def until_in_charge(self, ops: str) -> None:
        assert self.machine.do("until_in_charge", ops) == ops


@pytest.fixture(scope="module")
def host(
    root: LabRoot, kernel: Kernel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    host = Host(root, kernel, tmp_path_factory.mktemp("host"))
    host.build()
    yield host
    host.machine.close()


CONTROL = "scx_simple_control"
STATE = "cat /sys/kernel/sched_ext/state"
#: What an experiment could leave behind.
RESIDUE = (
    "ls -d /sys/fs/bpf/scxlab* /sys/fs/cgroup/scxlab*/ /run/scxlab/*.json 2>/dev/null"
)
#: Until the workload's group has processes.
UNTIL_LOADED = (
    "until grep -qs . /sys/fs/cgroup/scxlab-load-*/cgroup.procs; do sleep 0.05; done"
)
AGENT = "cut -d: -f2 /run/scxlab/agent.json | cut -d, -f1"


#: Which controllers the groups below the root have; none in a guest that was booted.
CONTROLLERS = "cat /sys/fs/cgroup/cgroup.subtree_control"
#: The pattern does not match the shell that looks for it.
WATCHDOGS = "grep -l experiments.machine.watchdo[g] /proc/[0-9]*/cmdline 2>/dev/null"


def clean(host: Host) -> None:
    assert host.shell(STATE) == "disabled"
    assert host.shell(RESIDUE) == ""
    assert host.shell(CONTROLLERS) == ""
    assert host.shell(WATCHDOGS) == ""
    assert host.console_level() == 4


def restored(host: Host, within_s: float) -> None:
    """Wait until the watchdog has done its work and gone, without another command."""
    host.shell(f"timeout {within_s} sh -c 'while {WATCHDOGS}; do sleep 0.1; done'")
    clean(host)


def test_nobody_agreed(host: Host) -> None:
    """Before any other test: consent is remembered."""
    code, said = host.wait(host.start("run", "x", False, SHORT))
    assert code == 2
    assert "--yes" in said
    assert not host.experiment("x").path.exists()


def test_results_are_those_of_any_backend(host: Host) -> None:
    code, said = host.run("ok")
    assert code == 0, said
    results = list(host.experiment("ok").results())
    assert {r.spec.variant for r in results} == {"control", "test"}
    for result in results:
        assert result.outcome is Outcome.OK, result.reason
        assert result.proof["before"] == result.proof["after"]
        assert result.proof["share_of_threads_in_sched_ext"] == 1.0
        assert result.facts["caches_dropped"] is True
        files = host.experiment("ok").files(result.spec)
        table = pd.read_csv(files.csv)
        assert tuple(table.columns) == default_columns()
        (rate,) = (m.value for m in result.metrics if m.name == "spawns")
        assert table["map_entries"].iloc[-1] > 0.2 * rate * result.spec.duration_s > 0
        assert "scx_simple" in files.dmesg.read_text()
    manifest = host.experiment("ok").manifest()
    assert manifest.facts["backend"] == "host"
    assert manifest.facts["kernel"] == host.shell("uname -r")
    settings = manifest.facts["settings"]
    assert {r.facts["load_user"]["uid"] for r in results} == {65534}
    assert settings["console-level"] == {"before": "4", "during": "1"}
    assert settings["governor"]["before"] == "not on this machine"
    assert [b["boot"] for b in manifest.boots] == [1]
    clean(host)


def test_another_scheduler_in_charge_is_named(host: Host) -> None:
    built = f"{HOME}/checkout/build/scx_simple_control.bpf.o"
    host.shell(f"bpftool struct_ops register {built} /sys/fs/bpf/theirs")
    try:
        host.until_in_charge(CONTROL)
        code, said = host.run("refused")
        assert code == 4
        assert f"the scheduler {CONTROL!r} is in charge" in said
        assert host.shell(STATE) == "enabled", "it is not ours to unload"
    finally:
        host.shell("rm -r /sys/fs/bpf/theirs")
    host.until_in_charge("")


def test_after_sigkill_of_runner_and_agent_all_is_restored(host: Host) -> None:
    """The runner, then the agent of the one that goes on where that stopped.

    Nobody gives a command between the two.
    """
    first = host.start("run", "killed", True, SHORTER)
    host.until_in_charge(CONTROL)
    host.kill(first, signal.SIGSTOP)  # so that it does not end before it is killed
    assert host.console_level() == 1
    code, said = host.wait(host.start("system", "reset"))
    assert code == 2, "not under a running experiment"
    assert "is running" in said
    host.kill(first)
    assert host.machine.do("wait", first) == -signal.SIGKILL
    restored(host, within_s=60)
    assert "printk is 4 again" in host.shell("cat /run/scxlab/watchdog.log")

    second = host.start("run", "killed", True, SHORTER)
    host.until_in_charge(CONTROL)
    host.kill(int(host.shell(AGENT)))
    code, said = host.wait(second)
    assert code == 0, said
    assert "LOST: the agent died: it got SIGKILL" in said
    manifest = host.experiment("killed").manifest()
    assert manifest.outcomes == {"OK": 1}
    assert manifest.retries == 1
    assert [b["boot"] for b in manifest.boots] == [1, 2, 3]
    assert manifest.facts["settings"]["console-level"]["before"] == "4"
    clean(host)


def test_an_agent_that_is_stuck_goes_too(host: Host) -> None:
    """It is stopped, so its scheduler stays loaded when its runner is killed.

    The group of the runner is killed, as by a CI system, and the watchdog lives on.
    """
    pid = host.start("run", "stuck", True, SHORTER)
    host.until_in_charge(CONTROL)
    agent = int(host.shell(AGENT))
    host.kill(agent, signal.SIGSTOP)
    host.kill(-pid)
    assert host.machine.do("wait", pid) == -signal.SIGKILL
    restored(host, within_s=90)
    assert f"ended the agent {agent}" in host.shell("cat /run/scxlab/watchdog.log")


def test_a_leftover_of_ours_does_not_refuse_the_next_run(host: Host) -> None:
    """Its pin holds it, so it is in charge; there is no program to be stopped."""
    built = f"{HOME}/checkout/build/scx_simple_control.bpf.o"
    host.shell(f"bpftool struct_ops register {built} /sys/fs/bpf/scxlab-left")
    host.until_in_charge(CONTROL)
    code, said = host.run("after", **SHORTER)
    assert code == 0, said
    assert "removed pin /sys/fs/bpf/scxlab-left" in said
    clean(host)


def test_the_load_runs_as_the_user_who_called_sudo(host: Host) -> None:
    host.machine.do("setenv", {"SUDO_UID": "1", "SUDO_GID": "1"})
    try:
        code, said = host.run("as-user", **SHORTER)
    finally:
        host.machine.do("setenv", {"SUDO_UID": "", "SUDO_GID": ""})
    assert code == 0, said
    (result,) = host.experiment("as-user").results()
    assert result.facts["load_user"] == {"uid": 1, "gid": 1}
    assert result.facts["load_bounds"]["pids"] > 4000
    clean(host)


def test_an_ejection_is_told_and_an_interrupt_leaves_nothing(host: Host) -> None:
    """SysRq-S throws a scheduler out. The experiment goes on, and is stopped."""
    two = {**SHORTER, "iterations": 2}
    pid = host.start("run", "stopped", True, two)
    host.until_in_charge(CONTROL)
    host.shell(f"{UNTIL_LOADED}; echo S > /proc/sysrq-trigger")
    host.until_in_charge("")
    host.until_in_charge(CONTROL)
    host.kill(pid, signal.SIGTERM)
    code, said = host.wait(pid)
    assert code == 130, said
    (result,) = host.experiment("stopped").results()
    assert result.outcome is Outcome.EJECTED
    assert "sysrq" in result.reason.lower()
    assert CONTROL in result.reason
    clean(host)


def test_the_machine_is_tuned_until_it_is_reset(host: Host) -> None:
    aslr = "cat /proc/sys/kernel/randomize_va_space"
    assert host.shell(aslr) == "2"
    code, said = host.wait(host.start("system", "tune", True))
    assert code == 0, said
    assert host.shell(aslr) == "0"
    code, said = host.wait(host.start("system", "reset"))
    assert "randomize_va_space is 2 again" in said
    assert host.shell(aslr) == "2"
    clean(host)


def test_without_a_lab_root_the_machines_tools_build(host: Host) -> None:
    said = host.machine.do("own_tools")
    assert "bpftool" in said
    assert "experiments" in said, "binds are seen"
    assert host.shell("grep -c scxlab/machine /proc/mounts") == "0"
