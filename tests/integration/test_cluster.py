# SPDX-License-Identifier: GPL-2.0-only
"""An experiment on two hosts of a Dask cluster, one of which dies in the middle.

The hosts are processes on this machine, each with a checkout, a cache, a name and a
network of its own; kernel and lab root are links to those there are. Two guests at once
measure each other, which matters to figures and not to what is tested here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import psutil
import pytest
from pyroute2 import IPRoute, netns

from experiments import paths
from experiments.build.builder import Builder
from experiments.labroot import lab_root
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuildRequest, Outcome, Variant
from experiments.paths import BUILD, RESULTS
from experiments.plan.knobs import KNOBS
from experiments.store.event_log import read
from experiments.store.experiment import Experiment
from experiments.store.verify import verify_experiment
from experiments.support import failpoints

PROJECT = Path(__file__).parents[2]
NAME = "itest-cluster"
CONFIG = """\
schema: 1
workloads: [custom-churn]
duration_s: 2
iterations: 2
sample_interval_s: 1
vm: { cpus: 1, memory_mb: 1024 }
"""
PORT = 18786
_CHECKOUT = ("experiments", "workloads", "schedulers", "analysis")


def start(
    argv: list[str], cwd: Path, env: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            ["env", "--default-signal=INT", *argv],
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()


@contextlib.contextmanager
def network(number: int) -> Iterator[tuple[Path, str]]:
    """A namespace and the address under which this machine is seen from within."""
    name, here, there = f"scxt{number}", f"10.213.{number}.1", f"10.213.{number}.2"
    netns.create(name)
    try:
        with IPRoute() as outside, IPRoute(netns=name) as inside:
            peer = {"ifname": "eth0", "net_ns_fd": name}
            outside.link("add", ifname=name, kind="veth", peer=peer)
            bring_up(outside, name, here)
            bring_up(inside, "eth0", there)
            bring_up(inside, "lo")
        yield Path(netns.NETNS_RUN_DIR) / name, here
    finally:
        netns.remove(name)


def bring_up(side: IPRoute, link: str, address: str = "") -> None:
    (index,) = side.link_lookup(ifname=link)
    if address:
        side.addr("add", index=index, address=address, prefixlen=24)
    side.link("set", index=index, state="up")


@dataclasses.dataclass
class Worker:
    """A host: its process and what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def guest(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def checkout(folder: Path) -> Path:
    """The code, and what has been built of it, as another machine would have it."""
    copy = folder / "checkout"
    hidden = shutil.ignore_patterns("__pycache__")
    for name in _CHECKOUT:
        shutil.copytree(PROJECT / name, copy / name, ignore=hidden)
    shutil.copytree(BUILD, copy / "build", dirs_exist_ok=True)
    for name in ("tasks.py", "config.yaml"):
        shutil.copy(PROJECT / name, copy)
    return copy


def _has_joined(worker: Worker) -> bool:
    return "a host of" in worker.log.read_text()


@contextlib.contextmanager
def host(folder: Path, number: int, dies_at: str = "") -> Iterator[Worker]:
    name = f"host{number}"
    copy = checkout(folder / name)
    cache = folder / name / "cache"
    (cache / "scxlab").mkdir(parents=True)
    for part in (lab_root.place(), paths.cache_dir() / "kernels"):
        (cache / "scxlab" / part.name).symlink_to(part)
    with network(number) as (namespace, scheduler):
        argv = [
            *("nsenter", f"--net={namespace}", sys.executable, "-m", "invoke"),
            *("worker", "--scheduler", f"tcp://{scheduler}:{PORT}", "--name", name),
            "--insecure",
        ]
        env = {"XDG_CACHE_HOME": str(cache), failpoints.ENVIRONMENT: dies_at}
        log = folder / f"{name}.log"
        with ending(start(argv, copy, env, log)) as process:
            yield Worker(name, process, log)


def wait_for(what: Callable[[], bool], log: Path, deadline_s: float = 120) -> None:
    deadline = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.fixture
def folder(builder: Builder, tmp_path: Path) -> Iterator[Path]:
    """Everything that a run needs is built before it is copied."""
    knobs = {n: k.default for n, k in KNOBS.items()}
    for variant, cleanup in (("control", "none"), ("test", "scan")):
        builder.build(BuildRequest("scx_simple", Variant(variant, cleanup, knobs)))
    shutil.rmtree(RESULTS / NAME, ignore_errors=True)
    yield tmp_path
    shutil.rmtree(RESULTS / NAME, ignore_errors=True)


@pytest.fixture
def scheduler(folder: Path) -> Iterator[None]:
    argv = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "0.0.0.0", "--port", str(PORT), "--no-dashboard"]
    with ending(start([*argv, *options], folder, {}, folder / "scheduler.log")):
        yield


def begun(experiment: Experiment, host: str) -> list[str]:
    """The labels of the runs that the host has begun."""
    every = read(experiment.path)
    return [e["run"] for e in every if e["event"] == "run" and e["host"] == host]


def test_a_host_that_dies_in_a_block_costs_nothing_but_time(
    root: LabRoot, folder: Path, scheduler: None
) -> None:
    (folder / "config.yaml").write_text(CONFIG)
    experiment = Experiment(RESULTS / NAME)
    argv = [
        *(sys.executable, "-m", "invoke", "run", "--experiment", NAME),
        *("--config", str(folder / "config.yaml")),
        *("--on", f"tcp://127.0.0.1:{PORT}"),
    ]
    # The first run of its block is done, the second has begun
    with host(folder, 1, "attempt made:2") as one, host(folder, 2) as two:
        for worker in (one, two):
            wait_for(partial(_has_joined, worker), worker.log)
        log = folder / "run.log"
        with ending(start(argv, PROJECT, {}, log)) as process:
            guest: set[psutil.Process] = set()

            def died() -> bool:
                guest.update(one.guest())
                return one.process.poll() is not None

            wait_for(died, log)
            assert one.process.returncode == -signal.SIGKILL
            assert len(guest) >= 4, "QEMU, virtiofsd, and who made the cell of each"
            _, alive = psutil.wait_procs([*guest], timeout=10)
            assert all(p.status() == psutil.STATUS_ZOMBIE for p in alive)
            assert process.wait(150) == 0, log.read_text()
        assert two.guest() == [], "told to stop, it has ended its guest"
    check(experiment, begun(experiment, "host1"))


def check(experiment: Experiment, repeated: list[str]) -> None:
    results = list(experiment.results())
    assert [r.outcome for r in results] == [Outcome.OK] * 4
    assert {r.facts["host"] for r in results} == {"host2"}
    assert set(repeated) <= set(begun(experiment, "host2"))
    assert len({r.spec.block for r in results if r.spec.label in repeated}) == 1
    assert all(r.proof["before"] == r.proof["after"] for r in results)
    manifest = experiment.manifest()
    assert set(manifest.facts["hosts"]) == {"host1", "host2"}
    assert [boot["host"] for boot in manifest.boots] == ["host2"]
    assert verify_experiment(experiment).wrong == ()
    assert "labroot" not in Path("/proc/self/mounts").read_text()
