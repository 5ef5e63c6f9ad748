# SPDX-License-Identifier: GPL-2.0-only
"""The blocks that are still to do, each for one taker.

A block is never split: its runs are compared with each other, so they are of one place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from experiments.model import RunSpec
from experiments.store.experiment import Experiment

#: Whether the scheduler and workload of a spec need no further block.
IsDecided = Callable[[Experiment, RunSpec], bool]


def never(experiment: Experiment, spec: RunSpec) -> bool:
    """Say of every block that it is needed."""
    return False


@dataclass(frozen=True)
class Block:
    """Runs that one place does one after another.

    ``owner`` has begun the block and is the only one that may end it; empty: anybody.
    """

    number: int
    specs: tuple[RunSpec, ...]
    owner: str = ""


class BlockQueue:
    """The blocks of `pending`; asked by several threads at once.

    `begun` names the blocks that are half done, and who has to end each. These come
    first; of every other one `is_decided` is asked before it is handed out, and
    `on_unneeded` hears of the runs of those that are not needed.
    """

    def __init__(
        self,
        experiment: Experiment,
        pending: Sequence[RunSpec],
        is_decided: IsDecided = never,
        begun: Mapping[int, str] | None = None,
        on_unneeded: Callable[[RunSpec], None] = lambda spec: None,
    ) -> None:
        self._experiment = experiment
        self._is_decided = is_decided
        self._on_unneeded = on_unneeded
        self.specs = tuple(pending)
        self._guard = threading.Lock()
        begun = begun or {}
        by_number: dict[int, list[RunSpec]] = {}
        for spec in pending:
            by_number.setdefault(spec.block, []).append(spec)
        blocks = [
            Block(number, tuple(specs), begun.get(number, ""))
            for number, specs in by_number.items()
        ]
        self._certain = [block for block in blocks if block.number in begun]
        self._open = [block for block in blocks if block.number not in begun]
        self.unneeded: list[Block] = []

    def take(self, takers: Collection[str] = ()) -> Block | None:
        """Return the next block that one of `takers` may do; None if there is none."""
        with self._guard:
            for block in self._certain:
                if block.owner in ("", *takers):
                    self._certain.remove(block)
                    return block
            while self._open:
                block = self._open.pop(0)
                if not self._is_decided(self._experiment, block.specs[0]):
                    return block
                self.unneeded.append(block)
                for spec in block.specs:
                    self._on_unneeded(spec)
            return None

    def put_back(self, block: Block) -> None:
        """Give back a block that was not done, for the next taker."""
        with self._guard:
            self._certain.append(block)

    @property
    def has_more(self) -> bool:
        """Whether there are blocks that anybody may do."""
        return bool(self._open) or any(not block.owner for block in self._certain)

    @property
    def owned(self) -> list[Block]:
        """The blocks that are left for owners who have not come."""
        return [block for block in self._certain if block.owner]
