# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: one boot serves many, a fresh one follows any fault."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import accel, agent_code, faults
from experiments.config import Config
from experiments.drive import END_GRACE_S
from experiments.errors import BackendLost, ConfigError, MissingRequirement
from experiments.files import atomic_write
from experiments.kernel_image import Kernel
from experiments.labroot import LabRoot
from experiments.model import BuiltObject, Job, Metric, Outcome, RunResult
from experiments.qemu import Guest, Shape
from experiments.results import Experiment

#: Longest silence of the agent: loading and unloading under a busy emulator included.
_SILENCE_S = 120.0
#: Of the run that follows each boot and is thrown away.
_WARM_UP_S = 5
_SHARE = Path("/lab/share")
_STAGE = Path(".stage")


class VmBackend:
    name = "vm"

    def __init__(self, config: Config, root: LabRoot, kernel: Kernel) -> None:
        self._config = config
        self._root = root
        self._kernel = kernel
        self._guest: Guest | None = None
        self._is_warm = False
        self._boot_number = 0
        self._accel = ("", "")

    def begin(self, experiment: Experiment) -> None:
        """What follows is done for this experiment."""
        self._experiment = experiment
        self._share = experiment.path / "attempts"
        self._run_dir = experiment.path / ".vm"
        # What a killed run has left
        shutil.rmtree(self._share / _STAGE, ignore_errors=True)

    def facts(self) -> Mapping[str, Any]:
        accel_name, why = self._choose_accel()
        return {
            "backend": self.name,
            "kernel": self._kernel.version,
            "kernel_sha256": self._kernel.sha256,
            "accel": accel_name,
            "accel_because": why,
            "vm": self._config.vm.model_dump(mode="json"),
            "labroot": {
                "key": self._root.key,
                "suite": self._root.suite,
                "packages": dict(self._root.packages),
            },
        }

    def _choose_accel(self) -> tuple[str, str]:
        if not self._accel[0]:
            asked = self._config.vm.accel
            if asked == "auto":
                self._accel = accel.choose(self._root, self._kernel)
            else:
                self._accel = asked, "asked for"
        return self._accel

    def _boot(self) -> Guest:
        self._share.mkdir(parents=True, exist_ok=True)
        agent_code.stage(self._share)
        vm = self._config.vm
        shape = Shape(vm.cpus, vm.memory_mb, self._choose_accel()[0])
        try:
            guest = Guest(self._root, self._kernel, shape, self._share, self._run_dir)
        except BackendLost as error:
            self._keep_console()
            if not self._experiment.manifest().boots:
                raise MissingRequirement(
                    f"kernel {self._kernel.version} does not boot: {error}. It needs "
                    "VIRTIO_FS, VIRTIO_PCI and SERIAL_8250 built in; its console is "
                    f"in {self._experiment.path / 'boots'}"
                ) from error
            raise
        said = {"boot_s": round(guest.boot_s, 2), "agent": dict(guest.facts)}
        self._boot_number = self._experiment.add_boot(said)
        faults.step("booted")
        return guest

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        """Raises BackendLost when the guest dies under the run."""
        if self._guest is None:
            tick("booting")
            self._guest = self._boot()
        if not self._is_warm:
            if not self._warm_up(self._guest, job, tick):
                # Something may be left of it: another boot, without a warm-up
                self.renew()
                self._guest = self._boot()
            self._is_warm = True
            faults.step("warmed up")
        return self._execute(self._guest, job, tick)

    def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        if self._guest is None:
            self._guest = self._boot()
        found = {}
        for job in jobs:
            out_dir = self._experiment.new_attempt(job.spec)
            path = self._hand_over(dataclasses.replace(job, out_dir=out_dir))
            answer = [*self._guest.serve(path, _SILENCE_S, "check")][-1]
            shutil.rmtree(out_dir)
            if answer["missing"]:
                found[job.spec.label] = answer["missing"]
        return found

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
        return result.outcome in (Outcome.OK, Outcome.SKIPPED)

    def _execute(
        self, guest: Guest, job: Job, tick: Callable[[str], None]
    ) -> RunResult:
        path = self._hand_over(job)
        silence = _SILENCE_S + END_GRACE_S + job.spec.sample_interval_s
        for event in guest.serve(path, silence):
            if event["event"] == "tick":
                tick(event["text"])
        said = json.loads((job.out_dir / "result.json").read_text())
        return RunResult(
            job.spec,
            job.spec.run_id,
            Outcome(said["outcome"]),
            said["reason"],
            tuple(Metric(**m) for m in said["metrics"]),
            said["proof"],
            {**said["facts"], "boot": self._boot_number},
        )

    def _hand_over(self, job: Job) -> str:
        """Write the job's file; its path in the guest."""
        inside = self._inside(job)
        raw = json.dumps(dataclasses.asdict(inside), default=os.fspath)
        atomic_write(job.out_dir / "job.json", raw)
        faults.step("job handed over")
        return str(inside.out_dir / "job.json")

    def _inside(self, job: Job) -> Job:
        """The job as the guest sees it, its artefacts copied to the share."""
        stage = self._share / _STAGE
        if not (stage / "bin").exists():
            shutil.copytree(job.bin_dir, stage / "bin")
        built: BuiltObject | None = None
        if job.built is not None and not job.built.path.is_file():
            built = job.built  # a program that the lab root has
        elif job.built is not None:
            name = f"{job.built.sha256[:12]}-{job.built.path.name}"
            _stage_object(job.built, stage / name)
            path = _SHARE / _STAGE / name
            built = dataclasses.replace(job.built, path=path)
        return Job(
            spec=job.spec,
            built=built,
            bin_dir=_SHARE / _STAGE / "bin",
            out_dir=_SHARE / job.out_dir.name,
        )

    def renew(self) -> None:
        """The next run gets a fresh boot."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None
            self._is_warm = False
            self._keep_console()

    def close(self) -> None:
        self.renew()
        shutil.rmtree(self._run_dir, ignore_errors=True)
        shutil.rmtree(self._share / _STAGE, ignore_errors=True)

    def _keep_console(self) -> None:
        console = self._run_dir / "console.log"
        if console.exists():
            folder = self._experiment.path / "boots"
            folder.mkdir(exist_ok=True)
            count = len(list(folder.iterdir()))  # boots that failed have one, too
            console.replace(folder / f"boot{count + 1}_console.log")


def _stage_object(built: BuiltObject, target: Path) -> None:
    """Copy an object once; afterwards a build by somebody else changes nothing."""
    if target.exists():
        return
    shutil.copy(built.path, target)
    if hashlib.sha256(target.read_bytes()).hexdigest() != built.sha256:
        target.unlink()
        raise ConfigError(
            f"{built.path} was built anew, by another invoke, since this experiment "
            "began: the same command again goes on, if the sources are the same"
        )


BACKEND = VmBackend
