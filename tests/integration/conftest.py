# SPDX-License-Identifier: GPL-2.0-only
"""A real kernel for the tests.

One guest serves all tests that ask for the fixture `lab`. Those that boot guests of
their own come after them.

On a user's machine they are skipped, with the reason, where the lab root is missing. In
CI (the variable CI is set) a reason to skip is a failure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.agent import protocol
from experiments.agent.handing import CODE, Share, Stage
from experiments.build.builder import Builder
from experiments.errors import BackendLost, ExperimentError
from experiments.labroot import kernel_image, lab_root
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import (
    ALONE,
    BuildRequest,
    BuiltObject,
    Job,
    RunSpec,
    Variant,
    digest,
)
from experiments.paths import BIN, BUILD
from experiments.plan.knobs import KNOBS
from experiments.vm import accel
from experiments.vm.guest import Guest
from experiments.vm.qemu_command import SHARE, Shape

OWN_WORKLOADS = Path(__file__).parent / "guest"
#: What somebody might add to the project; each file stands where it would there.
PLUGS = Path(__file__).parent / "plugs"
FAULT = Path(__file__).parent / "fault.bpf.c"
BOUNDS = Path(__file__).parent / "kfunc_bounds.bpf.c"
#: Under QEMU's emulator with a thread for each CPU, one may still run an int3 that the
#: kernel put in while it changed a jump, and has taken out again.
_STALE_CODE = "Oops: int3"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [n for n, i in enumerate(items) if Path(__file__).parent in i.path.parents]
    ours = [items[n] for n in places]
    for place, item in zip(
        places, sorted(ours, key=_uses_lab, reverse=True), strict=True
    ):
        items[place] = item
        item.add_marker(pytest.mark.vm)


def _uses_lab(item: pytest.Item) -> bool:
    return "lab" in getattr(item, "fixturenames", ())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Two guests at a time would take the CPUs from each other."""
    lab = item.config.stash.get(_LAB, None)
    if lab is not None and not _uses_lab(item):
        lab.close()


@pytest.fixture(scope="session")
def root() -> LabRoot:
    try:
        return lab_root.open_root()
    except ExperimentError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the VM tests must run in CI: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kernel(root: LabRoot) -> Kernel:
    return kernel_image.prepare(root)


@pytest.fixture(scope="session")
def builder(root: LabRoot, kernel: Kernel) -> Builder:
    builder = Builder(root, kernel)
    builder.tools()
    return builder


class Lab:
    """A guest that is booted when it is needed, and again after it died."""

    def __init__(self, builder: Builder, root: LabRoot, kernel: Kernel, path: Path):
        self.builder = builder
        self._root, self._kernel = root, kernel
        self._path = path
        self._stage = Stage(path / "stage", ALONE)
        self._booted: tuple[Guest, Share] | None = None
        self._jobs = 0
        self.shape = Shape(2, 1536, accel.choose(root, kernel)[0])

    def _ready(self) -> tuple[Guest, Share]:
        if self._booted is None:
            code = self._stage.made() / CODE
            for module in OWN_WORKLOADS.glob("*.py"):
                shutil.copy(module, code / "workloads")
            shutil.copytree(PLUGS, code, dirs_exist_ok=True)
            share = Share(self._stage, self._path / "share", Path(SHARE))
            machine = self._root, self._kernel, self.shape
            guest = Guest(*machine, share.path, self._path / "run")
            self._booted = guest, share
        return self._booted

    @property
    def guest(self) -> Guest:
        return self._ready()[0]

    @property
    def share(self) -> Path:
        """What the guest sees of this machine."""
        return self._ready()[1].path

    def add_tool(self, path: Path) -> None:
        """Put a program beside those of the project, for runs in this guest."""
        shutil.copy(path, self.share / "bin")

    def scheduler(self, cleanup: str = "none", **knobs: Any) -> BuiltObject:
        """The object of scx_simple."""
        return self.named("scx_simple", cleanup, **knobs)

    def named(self, name: str, cleanup: str = "none", **knobs: Any) -> BuiltObject:
        """The object of a scheduler of ours."""
        variant = f"itest-{cleanup}-{digest(knobs)[:8]}"
        settings = {n: k.default for n, k in KNOBS.items()} | knobs
        return self.builder.build(
            BuildRequest(name, Variant(variant, cleanup, settings))
        )

    def residue(self) -> str:
        """What is pinned, loaded and grouped in the guest between runs."""
        result, out_dir = self.run("misbehave", None, 1, 1.0, how="list")
        assert result["outcome"] == "OK", result["reason"]
        return (out_dir / "workload.log").read_text()

    def fault(self, number: int) -> BuiltObject:
        target = BUILD / f"itest-fault{number}.bpf.o"
        ops = f"fault_{number}"
        defines = [f"-DFAULT={number}", f'-DOPS_NAME="{ops}"']
        self.builder.bpf_object(FAULT, target, defines)
        return BuiltObject(target, "", ops, "none", "tasks", "", {}, {})

    def bound(self, number: int) -> BuiltObject:
        """Return a scheduler that asks too much of the module of kfunc."""
        module = self.scheduler("kfunc").module
        target = BUILD / f"itest-bound{number}.bpf.o"
        ops = f"bound_{number}"
        defines = [f"-DBOUND={number}", f'-DOPS_NAME="{ops}"', "-DMAX_ENTRIES=65537"]
        defines += ["-DTREATMENT=1", "-DCLEANUP=kfunc"]
        self.builder.bpf_object(BOUNDS, target, defines)
        return BuiltObject(target, "", ops, "kfunc", "tasks", "", {}, {}, module=module)

    def run(self, *job: Any, **params: Any) -> Ran:
        """Do a run; once more after the crash that is the emulator's and not ours."""
        try:
            return self._run(*job, **params)
        except BackendLost as error:
            if _STALE_CODE not in str(error):
                raise
            return self._run(*job, **params)

    def _run(
        self,
        workload: str,
        built: BuiltObject | None,
        duration_s: int = 4,
        interval_s: float = 1.0,
        samplers: tuple[str, ...] | None = None,
        **params: Any,
    ) -> Ran:
        self._jobs += 1
        out_dir = self._path / f"job{self._jobs}"
        out_dir.mkdir(parents=True)
        guest, share = self._ready()
        for tool in BIN.iterdir():  # what was built since it was booted
            if not (share.path / "bin" / tool.name).exists():
                shutil.copy(tool, share.path / "bin")
        if built is not None and not built.sha256:
            sha256 = hashlib.sha256(built.path.read_bytes()).hexdigest()
            built = dataclasses.replace(built, sha256=sha256)
        spec = RunSpec(
            *("scx_simple", "x", "x", workload, self._jobs, 1, 7),
            *(duration_s, interval_s, params, {}, samplers),
        )
        job = Job(spec, built, BIN, out_dir)
        (out_dir / protocol.JOB_FILE).write_text(protocol.job_text(job))
        try:
            result = share.execute(guest.line, job, lambda text: None, {})
        except BackendLost:
            self.close()  # so that the next one gets a guest that lives
            raise
        return json.loads(json.dumps(dataclasses.asdict(result))), out_dir

    def churn(
        self,
        built: BuiltObject | None,
        wanted: int,
        duration_s: int,
        interval_s: float = 1.0,
        **params: Any,
    ) -> Ran:
        """A run in which custom-churn made so many processes; a slow machine gets time.

        With the outcome that it had where that is not OK.
        """
        for longer in (1, 4, 16):
            job = "custom-churn", built, longer * duration_s, interval_s
            result, out_dir = self.run(*job, **params)
            if result["outcome"] != "OK" or spawned(result, out_dir) >= wanted:
                return result, out_dir
        raise AssertionError(f"{spawned(result, out_dir):.0f} processes of {wanted}")

    def close(self) -> None:
        if self._booted is not None:
            self._booted[0].close()
            self._booted = None


#: A result as it is stored, and the directory of the run's files.
Ran = tuple[dict[str, Any], Path]


def duration_s(out_dir: Path) -> int:
    """Return what the run was asked to last."""
    job = json.loads((out_dir / protocol.JOB_FILE).read_text())
    return int(job["spec"]["duration_s"])


def spawned(result: dict[str, Any], out_dir: Path) -> float:
    """Return how many processes custom-churn says it made."""
    found = {m["name"]: m["value"] for m in result["metrics"]}
    return float(found["spawns"] * duration_s(out_dir))


_LAB = pytest.StashKey[Lab]()


@pytest.fixture(scope="session")
def lab(
    request: pytest.FixtureRequest,
    builder: Builder,
    root: LabRoot,
    kernel: Kernel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    lab = Lab(builder, root, kernel, tmp_path_factory.mktemp("lab"))
    request.config.stash[_LAB] = lab
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def control_run(lab: Lab) -> Ran:
    """Control under custom-churn with the default samplers: 150 processes a second.

    The kernel brings the memory of a cgroup up to date every 2 s, so it takes some time
    until that can be seen to follow the map.
    """
    churn: dict[str, Any] = {"rate": 150, "burst": 10, "lifetime_ms": 50}
    return lab.churn(lab.scheduler(), 600, 8, 0.5, **churn)


def samples(out_dir: Path) -> pd.DataFrame:
    return pd.read_csv(out_dir / "samples.csv")


CHURN: dict[str, Any] = {"rate": 200, "burst": 10, "lifetime_ms": 20}


@pytest.fixture(scope="session")
def residue_of_control(lab: Lab, control_run: Ran) -> str:
    """What is in the guest when no strategy has run since, and has to be after each."""
    return lab.residue()
