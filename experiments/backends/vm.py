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

from experiments.agent.handing import PATIENT, Share, Stage
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
from experiments.plan import generated
from experiments.plan.config import Config
from experiments.plugins import Backend
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import LabRootFacts, MachineFacts
from experiments.support import failpoints
from experiments.vm import accel
from experiments.vm.guest import Guest
from experiments.vm.qemu_command import SHARE, Shape

#: Settings that older versions did not have, and what they did.
_LATER: Mapping[str, object] = {"jobs": 1, "fresh_boot": "auto"}
#: Of the run that follows each boot and is thrown away.
_WARM_UP_S = 5


class VmBackend(Backend):
    name = "vm"
    grace = PATIENT

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
        self._booted: tuple[Guest, Share] | None = None
        self._is_warm = False
        self._boot_number = 0
        self._accel = ("", "")
        self._has_fresh_boots = _has_fresh_boots(config)
        self._candidate: str | None = None

    def begin(self, experiment: Experiment, lane: Lane = ALONE) -> None:
        """Make ready for an experiment; a guest is booted when it is needed."""
        self._experiment = experiment
        self._lane = lane
        self._stage = Stage(experiment.path / ".stage", lane)
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
        """Return the guest's shape, without what older results do not have."""
        shape = self._config.vm.model_dump(mode="json")
        return {k: v for k, v in shape.items() if _LATER.get(k, ...) != v}

    def _choose_accel(self) -> tuple[str, str]:
        if not self._accel[0]:
            asked = self._config.vm.accel
            if asked == "auto":
                self._accel = accel.choose(self._root, self._kernel)
            else:
                self._accel = asked, "asked for"
        return self._accel

    def _ready(self) -> tuple[Guest, Share]:
        if self._booted is None:
            self._booted = self._boot()
        return self._booted

    def _boot(self) -> tuple[Guest, Share]:
        place = self._run_dir / "share"
        share = Share(self._stage, place, Path(SHARE), self.grace)
        guest = self._guest(share.path)
        said = {"boot_s": round(guest.boot_s, 2), "agent": dict(guest.facts)}
        if self._lane.cpus:
            said |= {"lane": self._lane.number, "cpus": list(self._lane.cpus)}
        self._boot_number = self._experiment.add_boot(said)
        failpoints.step("booted")
        return guest, share

    def _guest(self, share: Path) -> Guest:
        vm = self._config.vm
        shape = Shape(vm.cpus, vm.memory_mb, self._choose_accel()[0])
        try:
            return Guest(
                self._root,
                self._kernel,
                shape,
                share,
                self._run_dir,
                cpus=self._lane.cpus,
            )
        except BackendLost as error:
            self._keep_console()
            is_first = not self._experiment.manifest().boots
            if is_first and not isinstance(error, HelperLost):
                raise MissingRequirement(
                    f"kernel {self._kernel.version} does not boot: {error}. It needs "
                    "VIRTIO_FS, VIRTIO_PCI, VIRTIO_CONSOLE and SERIAL_8250 built in; "
                    f"its console is in {self._experiment.path / 'boots'}"
                ) from error
            raise

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        """Have the guest do a job; raises BackendLost when it dies under the run."""
        self._keep_apart(job)
        if self._booted is None:
            tick("booting")
            self._ready()
        if not self._is_warm:
            if not self._warm_up(job, tick):
                # Something may be left of it: another boot, without a warm-up
                self.renew()
                self._ready()
            self._is_warm = True
            failpoints.step("warmed up")
        return self._execute(job, tick)

    def _keep_apart(self, job: Job) -> None:
        """See to it that a guest which serves one object alone gets no other."""
        candidate = job.built.sha256 if job.built else ""
        if self._has_fresh_boots and self._candidate not in (None, candidate):
            self.renew()
        self._candidate = candidate

    def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        guest, share = self._ready()
        return share.missing(guest.line, jobs)

    def _warm_up(self, job: Job, tick: Callable[[str], None]) -> bool:
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
            result = self._execute(warm_up, lambda text: tick(f"warm-up, {text}"))
        finally:
            shutil.rmtree(out_dir)
        said = {"run": spec.label, "duration_s": spec.duration_s}
        said |= {"outcome": result.outcome.value, "reason": result.reason}
        self._experiment.add_to_boot(self._boot_number, {"warm_up": said})
        return not result.outcome.is_fault

    def _execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        guest, share = self._ready()
        return share.execute(guest.line, job, tick, {"boot": self._boot_number})

    def renew(self) -> None:
        """Have the next run get a fresh boot."""
        if self._booted is not None:
            guest, share = self._booted
            self._booted = None
            guest.close()
            share.close()
            self._is_warm = False
            self._keep_console()

    def close(self) -> None:
        self.renew()
        shutil.rmtree(self._run_dir, ignore_errors=True)
        with contextlib.suppress(OSError):  # another lane has its own there
            self._run_dir.parent.rmdir()
        self._stage.close()

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


def _has_fresh_boots(config: Config) -> bool:
    """Return whether a guest serves one object alone: what a program wrote may harm."""
    if config.vm.fresh_boot != "auto":
        return config.vm.fresh_boot == "always"
    files = [file for source in config.sources() for file in source.files]
    return any(generated.has_block(file) for file in files)


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
