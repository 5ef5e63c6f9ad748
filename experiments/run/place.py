# SPDX-License-Identifier: GPL-2.0-only
"""Where the blocks of an experiment are done: lanes of this machine, or hosts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from experiments.model import Plan
from experiments.plan.config import Config
from experiments.run.block_queue import BlockQueue
from experiments.run.progress import RunProgress
from experiments.store.experiment import Experiment


class Place(Protocol):
    """Takes blocks and gives back finished runs; made for one Config.

    `run_experiment` calls the methods in this order.
    """

    @property
    def config(self) -> Config:
        """The config as the place needs it, which is also what is recorded."""

    def prepare(
        self, plan: Plan, before: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """Build what the plan needs; return the facts that all its runs will share.

        `before` are those of the experiment if it was begun earlier. Raises
        MissingRequirement, BuildError or ConfigError.
        """

    def held_for(self, experiment: Experiment) -> AbstractContextManager[None]:
        """Return a context manager that reserves the place for this experiment."""

    def owners(self, begun: Mapping[int, str]) -> Mapping[int, str]:
        """Return who here has to end each half-done block; empty: anybody.

        `begun` has the host of a cluster that began each, empty without a cluster.
        Raises ConfigError where blocks cannot be ended here.
        """

    @property
    def width(self) -> int:
        """How many runs are done side by side."""

    @property
    def description(self) -> str:
        """What to add to `12 runs to do`, as in ` on 3 hosts`."""

    def run(
        self, experiment: Experiment, blocks: BlockQueue, progress: RunProgress
    ) -> None:
        """Do the blocks of the queue until it is empty.

        What goes wrong in a run is its outcome; what is raised has ended all runs.
        """
