# SPDX-License-Identifier: GPL-2.0-only
"""The protocols of what can be added, a file each: workloads, samplers and the rest.

They name types of modules far above for the type checker alone: nothing of ours but
the ground is imported when the program runs, in the guest as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments.columns import Column
from experiments.errors import ConfigError
from experiments.model import (
    ALONE,
    Job,
    Lane,
    LoadedScheduler,
    Metric,
    Parameter,
    Round,
    RunResult,
    RunSpec,
)

if TYPE_CHECKING:
    from experiments.labroot.kernel_image import Kernel
    from experiments.labroot.lab_root import LabRoot
    from experiments.plan.config import Config
    from experiments.store.experiment import Experiment


class Workload(Protocol):
    """One module in `workloads/` exposes an object like this as WORKLOAD."""

    name: str
    summary: str
    parameters: Mapping[str, Parameter]
    sustained: bool  # one process for the whole duration, or rounds one after another

    # One that needs privileges says so: `capabilities: Sequence[str]`, by the names of
    # capabilities(7) without the prefix. It runs as an ordinary user with no others.

    def missing(self, bin_dir: Path) -> Sequence[str]:
        """Return reasons why it cannot run on this kernel; empty when it can."""

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]: ...

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        """Return the metrics of the finished rounds.

        ValueError when the output has none.
        """


class Sampler(Protocol):
    """Reads some columns of a sample; made anew for each run.

    One module in `experiments/samplers/` exposes such a class as SAMPLER. Its methods
    are called in this order: missing, facts, sample, again and again, and, while the
    scheduler is still loaded, finish and metrics.
    """

    name: str
    by_default: bool = True  # whether runs have it that do not say which they want
    columns: Sequence[Column] = ()  # all that `sample` may ever fill

    def __init__(self, job: Job, loaded: LoadedScheduler) -> None: ...

    def missing(self) -> Sequence[str]:
        """Return reasons why its columns stay empty in this run."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return how it measures here."""
        return {}

    def sample(self) -> Mapping[str, float]:
        """Return numbers of 0 or more, by the names of their columns."""
        ...

    def finish(self) -> Mapping[str, Any]:
        """Return facts of the whole run, after its last sample."""
        return {}

    def metrics(self) -> Sequence[Metric]:
        """Return metrics of the whole run, beside those of the workload."""
        return ()

    def close(self) -> None:
        """Give back what it holds; called once, whatever happened."""
        return None

    @classmethod
    def release(cls) -> None:
        """Take out of the kernel what was left there for the next run.

        Called before runs that do not have this sampler, and when the agent ends.
        """
        return None


class Loader(Protocol):
    """Puts a scheduler into the kernel and takes it out again."""

    name: str

    def missing(self, job: Job) -> Sequence[str]: ...

    def loaded(self, job: Job) -> AbstractContextManager[LoadedScheduler]: ...


class Backend(Protocol):
    """A place where the agent runs; one module each exposes such a class as BACKEND.

    Its methods are called in this order: target, lanes, then of an object for each lane
    facts, begin, missing, execute and renew as often as there is need, and close.
    """

    name: str
    #: Whether schedulers run on this machine's own kernel, which has to be agreed to.
    is_this_machine: bool = False

    @classmethod
    def target(cls, config: Config) -> tuple[LabRoot, Kernel]:
        """Return the LabRoot to build with and the Kernel to build for.

        Raises MissingRequirement or ConfigError where nothing can be run.
        """
        ...

    @classmethod
    def lanes(cls, config: Config) -> Sequence[Lane]:
        """Return where runs are done side by side: here, one after another.

        Raises ConfigError for more lanes than there can be.
        """
        if config.vm.jobs != 1:
            raise ConfigError(
                f"vm.jobs is {config.vm.jobs}: the backend {cls.name} is one"
            )
        return (ALONE,)

    def __init__(self, config: Config, root: LabRoot, kernel: Kernel) -> None: ...

    def begin(self, experiment: Experiment, lane: Lane = ALONE) -> None:
        """Take up an experiment; what follows is done for it."""
        ...

    def missing(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        """Return labels of the jobs that cannot run here, and the reasons."""
        ...

    def execute(self, job: Job, tick: Callable[[str], None]) -> RunResult:
        """Run one job to its end; BackendLost when the place died under it."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what is to be known of the place; `accel` and the kernel among it."""
        ...

    def renew(self) -> None:
        """Start afresh after a fault."""

    def close(self) -> None:
        """Give back what it holds; called once, whatever happened."""
