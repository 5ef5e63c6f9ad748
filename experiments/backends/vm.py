# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: one boot serves many, a fresh one follows any fault."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from experiments.backends._handing import Share
from experiments.errors import (
    BackendLost,
    ConfigError,
    HelperLost,
    MissingRequirement,
)
from experiments.labroot import kernel_image, lab_root
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import ALONE, Job, Lane, RunResult
from experiments.plan.config import Config
from experiments.plugins import Backend
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import LabRootFacts, MachineFacts
from experiments.support import failpoints
from experiments.vm import accel
from experiments.vm.guest import Guest, Shape

#: Of the run that follows each boot and is thrown away.
_WARM_UP_S = 5
_INSIDE = Path("/lab/share")


class VmBackend(Backend):
    name = "vm"

    @classmethod
    def target(cls, config: Config) -> tuple[LabRoot, Kernel]:
        root = lab_root.open_root()
        return root, kernel_image.prepare(root, config.vm.kernel)

    @classmethod
    def lanes(cls, config: Config) -> Sequence[Lane]:
        """Return a lane for each guest, with CPUs of its own.

        Raises ConfigError where there are too few: two guests on the same CPUs measure
        each other.
        """
        jobs, each = config.vm.jobs, config.vm.cpus
        _check_memory(config)
        if jobs == 1:
            return (ALONE,)
        cpus = sorted(os.sched_getaffinity(0))
        if jobs * each > len(cpus):
            raise ConfigError(
                f"vm.jobs {jobs} with vm.cpus {each} takes {jobs * each} CPUs, here "
                f"are {len(cpus)}: guests that share CPUs measure each other; at most "
                f"{max(len(cpus) // each, 1)} of them fit"
            )
        return [Lane(i, tuple(cpus[i * each : (i + 1) * each])) for i in range(jobs)]

    def __init__(self, config: Config, root: LabRoot, kernel: Kernel) -> None:
        self._config = config
        self._root = root
        self._kernel = kernel
        self._guest: Guest | None = None
        self._is_warm = False
        self._boot_number = 0
        self._accel = ("", "")

    def begin(self, experiment: Experiment, lane: Lane = ALONE) -> None:
        """Make ready for an experiment; a guest is booted when it is needed."""
        self._experiment = experiment
        self._lane = lane
        self._share = Share(experiment.path / "attempts", _INSIDE, lane)
        self._run_dir = experiment.path / ".vm" / str(lane.number)

    def facts(self) -> Mapping[str, Any]:
        accel_name, why = self._choose_accel()
        root = self._root
        return MachineFacts(
            backend=self.name,
            kernel=self._kernel.version,
            kernel_sha256=self._kernel.sha256,
            accel=accel_name,
            accel_because=why,
            vm=self._shape(),
            labroot=LabRootFacts(root.key, root.suite, dict(root.packages)),
        ).written()

    def _shape(self) -> Mapping[str, Any]:
        """Return the guest's shape; without `jobs` if it is 1, as in older results."""
        shape = self._config.vm.model_dump(mode="json")
        if shape["jobs"] == 1:
            del shape["jobs"]
        return shape

    def _choose_accel(self) -> tuple[str, str]:
        if not self._accel[0]:
            asked = self._config.vm.accel
            if asked == "auto":
                self._accel = accel.choose(self._root, self._kernel)
            else:
                self._accel = asked, "asked for"
        return self._accel

    def _boot(self) -> Guest:
        self._share.stage_code()
        vm = self._config.vm
        shape = Shape(vm.cpus, vm.memory_mb, self._choose_accel()[0])
        try:
            guest = Guest(
                self._root,
                self._kernel,
                shape,
                self._share.path,
                self._run_dir,
                cpus=self._lane.cpus,
            )
        except BackendLost as error:
            self._keep_console()
            is_first = not self._experiment.manifest().boots
            if is_first and not isinstance(error, HelperLost):
                raise MissingRequirement(
                    f"kernel {self._kernel.version} does not boot: {error}. It needs "
                    "VIRTIO_FS, VIRTIO_PCI and SERIAL_8250 built in; its console is "
                    f"in {self._experiment.path / 'boots'}"
                ) from error
            raise
        said = {"boot_s": round(guest.boot_s, 2), "agent": dict(guest.facts)}
        if self._lane.cpus:
            said |= {"lane": self._lane.number, "cpus": list(self._lane.cpus)}
        self._boot_number = self._experiment.add_boot(said)
        failpoints.step("booted")
        return guest

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        """Have the guest do a job; raises BackendLost when it dies under the run."""
        if self._guest is None:
            tick("booting")
            self._guest = self._boot()
        if not self._is_warm:
            if not self._warm_up(self._guest, job, tick):
                # Something may be left of it: another boot, without a warm-up
                self.renew()
                self._guest = self._boot()
            self._is_warm = True
            failpoints.step("warmed up")
        return self._execute(self._guest, job, tick)

    def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        if self._guest is None:
            self._guest = self._boot()
        return self._share.missing(self._guest.line, self._experiment, jobs)

    def _warm_up(self, guest: Guest, job: Job, tick: Callable[[str], None]) -> bool:
        """Do the run once for a short time and throw it away; False if it went wrong.

        The first run of a boot reads every program from disk; hackbench's rounds took
        twice as long in it, whichever scheduler it was.
        """
        spec = dataclasses.replace(
            job.spec,
            duration_s=min(_WARM_UP_S, job.spec.duration_s),
            sample_interval_s=min(1.0, job.spec.sample_interval_s),
        )
        out_dir = self._experiment.new_attempt(spec)
        warm_up = dataclasses.replace(job, spec=spec, out_dir=out_dir)
        try:
            result = self._execute(
                guest, warm_up, lambda text: tick(f"warm-up, {text}")
            )
        finally:
            shutil.rmtree(out_dir)
        said = {"run": spec.label, "duration_s": spec.duration_s}
        said |= {"outcome": result.outcome.value, "reason": result.reason}
        self._experiment.add_to_boot(self._boot_number, {"warm_up": said})
        return not result.outcome.is_fault

    def _execute(
        self, guest: Guest, job: Job, tick: Callable[[str], None]
    ) -> RunResult:
        boot = {"boot": self._boot_number}
        return self._share.execute(guest.line, job, tick, boot)

    def renew(self) -> None:
        """Have the next run get a fresh boot."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None
            self._is_warm = False
            self._keep_console()

    def close(self) -> None:
        self.renew()
        shutil.rmtree(self._run_dir, ignore_errors=True)
        with contextlib.suppress(OSError):  # another lane has its own there
            self._run_dir.parent.rmdir()
        self._share.close()

    def _keep_console(self) -> None:
        console = self._run_dir / "console.log"
        if console.exists():
            folder = self._experiment.path / "boots"
            folder.mkdir(exist_ok=True)
            name = f"boot{self._boot_number}" if self._boot_number else self._failed()
            console.replace(folder / f"{name}_console.log")
        self._boot_number = 0

    def _failed(self) -> str:
        """Name the console of a guest that did not come up, and has no number."""
        now = datetime.datetime.now(datetime.UTC)
        return f"failed_{now:%Y%m%dT%H%M%S.%f}"


def _check_memory(config: Config) -> None:
    """Raise ConfigError where the guests' memory is not there."""
    jobs, each_mb = config.vm.jobs, config.vm.memory_mb
    there_mb = psutil.virtual_memory().total >> 20
    if jobs * each_mb > there_mb:
        most = there_mb // each_mb
        remedy = f"at most {most} of them fit" if most else "give vm.memory_mb less"
        raise ConfigError(
            f"vm.jobs {jobs} with vm.memory_mb {each_mb} takes {jobs * each_mb} MB, "
            f"here are {there_mb}: {remedy}"
        )


BACKEND = VmBackend
