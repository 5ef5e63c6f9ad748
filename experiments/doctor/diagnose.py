# SPDX-License-Identifier: GPL-2.0-only
"""Try a scheduler in the VM for a few seconds, and explain why it fails if it does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments import paths
from experiments.errors import BuildError
from experiments.model import Outcome, RunResult
from experiments.plan.config import Config
from experiments.run.runner import run_experiment
from experiments.support import tempdirs

DURATION_S = 3

#: What is found in the words of the compiler, the verifier or the kernel, and what it
#: means. The first that fits is told.
_EXPLANATIONS = (
    (
        r"func_proto .*incompatible with vmlinux",
        "a kfunc is declared with other arguments than this kernel's BTF has: compare "
        "its declaration with vmlinux.h of the kernel, or take another kernel",
    ),
    (
        r"(?:kfunc|extern \(func ksym\)|ksym) '?\w+'?.*(?:not resolved|wasn't resolved|"
        r"not found)",
        "a kfunc that it calls is not in this kernel: load the module that has it, or "
        "declare it __weak and ask bpf_ksym_exists()",
    ),
    (
        r"invalid mem access '\w*_or_null'",
        "the verifier: a pointer that may be NULL is followed without a check",
    ),
    (
        r"invalid mem access|invalid access to|R\d+ .*(?:min value|unbounded)",
        "the verifier: an access that it cannot prove to be within bounds",
    ),
    (
        r"too many instructions|BPF program is too large|processed \d{7} insns",
        "the verifier: too many paths; bound the loops or split the function",
    ),
    (
        r"Unreleased reference",
        "the verifier: something acquired is not released on every path",
    ),
    (
        r"runnable task stall",
        "the watchdog: a task was runnable for longer than timeout_ms and was not "
        "dispatched: is every enqueued task moved to a local queue some time, on a CPU "
        "that it may run on?",
    ),
    (
        r"RCU CPU stall",
        "a task starved inside an RCU read section: low weights must get their turn "
        "also while new tasks keep coming",
    ),
    (
        r"scx_bpf_error|disabled \(runtime error\)",
        "the scheduler did what sched_ext forbids, or reported an error itself",
    ),
    (
        r"has no sched_ext|no BTF",
        "the kernel lacks the configuration: SCHED_CLASS_EXT, DEBUG_INFO_BTF",
    ),
    (r"error: ", "the compiler refuses it: see the line it names"),
)


@dataclass(frozen=True)
class Diagnosis:
    """One variant: what happened, in whose words, and what it means."""

    variant: str
    outcome: str
    words: str
    meaning: str


def explain(words: str) -> str:
    """Return what the words of a failure mean; empty when they are not known."""
    found = (meaning for pattern, meaning in _EXPLANATIONS if re.search(pattern, words))
    return next(found, "")


def diagnose(config: Config) -> Iterator[Diagnosis]:
    """Build and load every variant once, under a light load.

    `config` names the schedulers; workload, duration and repetitions are not its own.
    """
    quick = config.model_copy(
        update={
            "workloads": ("custom-churn",),
            "duration_s": DURATION_S,
            "sample_interval_s": 1.0,
            "iterations": 1,
        }
    )
    with tempdirs.directory("doctor") as directory:
        try:
            experiment = run_experiment(quick, "doctor", directory)
        except BuildError as error:
            yield Diagnosis("build", "FAILED", str(error), explain(str(error)))
            return
        for result in experiment.results():
            yield _of(result, experiment.path / "attempts")


def _of(result: RunResult, attempts: Path) -> Diagnosis:
    spec = result.spec
    meaning = "" if result.outcome is Outcome.OK else explain(result.reason)
    words = result.reason
    # The experiment is thrown away; what the verifier said in full is not
    for log in attempts.glob(f"{spec.run_id}-*/load.log"):
        kept = paths.BUILD / f"doctor-{spec.scheduler}_{spec.variant}.log"
        shutil.copyfile(log, kept)
        words += f"\n(load.log is kept as {kept})"
    return Diagnosis(f"{spec.scheduler}/{spec.variant}", result.outcome, words, meaning)
