# SPDX-License-Identifier: GPL-2.0-only
"""The steps at which a runner may die, and a way to have it die at one of them.

With SCXLAB_KILL_AT=STEP in its environment a runner gets SIGKILL when it comes to that
step, with STEP:N the N-th time. So it is tested that nothing is lost at any of them.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Literal, get_args

ENVIRONMENT = "SCXLAB_KILL_AT"

Step = Literal[
    "planned",
    "built",
    "experiment created",
    "experiment locked",
    "machine locked",
    "booted",
    "warmed up",
    "attempt made",
    "job handed over",
    "job done",
    "csv in place",
    "logs in place",
    "json beside its place",
    "json in place",
    "manifest beside its place",
    "run recorded",
    "attempt removed",
    "guest ended",
    "experiment done",
]
#: In the order of one run; some come again with every run, write or boot, and a job is
#: also handed over to ask what is missing for it.
STEPS: tuple[Step, ...] = get_args(Step)

_passed: Counter[str] = Counter()


def step(name: Step) -> None:
    """Come to the step `name`, and die there if that is asked for."""
    wanted = os.environ.get(ENVIRONMENT)
    if not wanted:
        return
    _passed[name] += 1
    at, _, number = wanted.partition(":")
    if at == name and _passed[name] == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
