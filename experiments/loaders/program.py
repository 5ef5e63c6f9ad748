# SPDX-License-Identifier: GPL-2.0-only
"""A scheduler that is a program: it loads its BPF itself, and unloads on SIGINT.

So do the schedulers of the scx project, in C and Rust.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator, Sequence
from subprocess import STDOUT, Popen, TimeoutExpired
from typing import Any

from experiments.errors import LoadError
from experiments.kernel import bpf, cgroup, sched_ext
from experiments.loaders._pins import Pins
from experiments.model import Job, LoadedScheduler
from experiments.support.proc import end, last_lines, start

_LOAD_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 10.0
_STATE_TIMEOUT_S = 20.0


def _maps_of(progs: set[int]) -> dict[str, int]:
    """Return the maps that these programs use, by name."""
    found = {}
    for map_id in sorted({i for p in progs for i in bpf.prog_info(p).map_ids}):
        with bpf.opened(map_id) as fd:
            found[bpf.map_info(fd).name] = map_id
    return found


def _stop(process: Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutExpired):
            process.wait(_END_TIMEOUT_S)
    end(process, grace_s=1)


def _sweep(pins: Pins, facts: dict[str, Any]) -> None:
    if removed := pins.remove():
        facts["pins_removed"] = removed


def _unloaded() -> None:
    """Raise LoadError unless the kernel says so some time soon."""
    status = sched_ext.wait_for(lambda s: s.state == "disabled", _STATE_TIMEOUT_S)
    if status.state != "disabled":
        raise LoadError(f"{status.ops!r} stays loaded after its program has ended")


class ProgramLoader:
    name = "program"

    def missing(self, job: Job) -> Sequence[str]:
        reasons = []
        if not sched_ext.available():
            reasons.append("this kernel has no sched_ext (CONFIG_SCHED_CLASS_EXT)")
        program = str(job.built.path) if job.built else ""
        if shutil.which(program) is None:
            reasons.append(f"no program {program} there: give the path of the file")
        return reasons

    @contextlib.contextmanager
    def loaded(self, job: Job) -> Iterator[LoadedScheduler]:
        """Raises LoadError with the program's own last words.

        What it leaves pinned is removed, and a fact.
        """
        assert job.built is not None
        before = sched_ext.status()
        if before.state != "disabled":
            raise LoadError(f"the scheduler {before.ops!r} is loaded already")
        progs, pins, facts = set(bpf.prog_ids()), Pins(), dict[str, Any]()
        with contextlib.ExitStack() as stack:
            group = None
            if cgroup.available() and cgroup.has_memory():
                group = stack.enter_context(cgroup.group(f"scxlab-{job.spec.run_id}"))
            log = job.out_dir / "load.log"
            output = stack.enter_context(log.open("wb"))
            stack.callback(_unloaded)
            stack.callback(_sweep, pins, facts)
            process = start(
                [job.built.path, *job.built.arguments],
                stdout=output,
                stderr=STDOUT,
                cgroup=group,
            )
            stack.callback(_stop, process)
            status = sched_ext.wait_for(
                lambda s: s.enabled or process.poll() is not None, _LOAD_TIMEOUT_S
            )
            if process.poll() is not None or not status.enabled:
                raise LoadError(
                    f"{job.built.path.name} put no scheduler in charge; its last words "
                    f"(all in {log.name}):\n"
                    f"{last_lines(log.read_text(errors='replace'), 10)}"
                )
            pins.note(status.ops)
            maps = _maps_of(set(bpf.prog_ids()) - progs)
            yield LoadedScheduler(status.ops, maps, group, facts)


LOADER = ProgramLoader()
