# SPDX-License-Identifier: GPL-2.0-only
"""A sched_ext object file, loaded by libbpf and held by this process.

All of it goes with the process: links, programs, maps and their timers. The link alone
proves nothing: it outlives a scheduler that the kernel has thrown out. What counts is
/sys/kernel/sched_ext, asked after loading and by the agent again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import LoadError
from experiments.kernel import bpf, cgroup, libbpf, sched_ext
from experiments.kernel.bpf_object import BpfObject, Variable
from experiments.loaders import _settings
from experiments.model import BuiltObject, Job, LoadedScheduler
from experiments.support.proc import last_lines, run

_MODULE_TIMEOUT_S = 60.0
_STATE_TIMEOUT_S = 20.0
_POLL_S = 0.05
_LOG_LINES = 15
#: By these members a scheduler's note of its end is known (upstream's user_exit_info);
#: it may give the variable any name.
_EXIT_INFO = {"kind", "exit_code", "reason", "msg"}


@contextlib.contextmanager
def _charged_to(group: Path | None) -> Iterator[None]:
    """Maps that are made meanwhile are charged to the group, for all of their life."""
    with contextlib.nullcontext() if group is None else cgroup.inside(group):
        yield


def _put_in(opened: BpfObject, group: Path | None, log: Path) -> None:
    """Load and attach; raises LoadError with the last words, and `log` with all."""
    if not opened.struct_ops():
        raise LoadError(f"libbpf finds no scheduler in it; {opened.words()[0]}")
    try:
        with _charged_to(group):
            opened.load()
        opened.attach()
    except LoadError as error:
        said, verifier = opened.words()
        log.write_text(f"{said}\n{verifier}\n")
        words = [last_lines(text, _LOG_LINES) for text in (said, verifier) if text]
        raise LoadError(
            f"the kernel refuses the scheduler: {error}; last words (all in "
            f"{log.name}):\n" + "\n".join(words)
        ) from None


def _unloaded() -> None:
    """Raise LoadError unless the kernel says so some time soon."""
    status = sched_ext.wait_for(lambda s: s.state == "disabled", _STATE_TIMEOUT_S)
    if status.state != "disabled":
        raise LoadError(f"{status.ops!r} does not unload: state is {status.state!r}")


@contextlib.contextmanager
def _module(path: Path) -> Iterator[None]:
    """A kernel module, in the kernel while the block runs."""
    run(["insmod", path], timeout_s=_MODULE_TIMEOUT_S)
    try:
        yield
    finally:
        _remove(path.stem)


def _remove(module: str) -> None:
    """Remove it and wait: programs are freed some time after detaching."""
    end = time.monotonic() + _STATE_TIMEOUT_S
    while True:
        done = run(["rmmod", module], timeout_s=_MODULE_TIMEOUT_S, check=False)
        if not done.returncode:
            return
        if time.monotonic() > end:
            raise LoadError(f"the module stays: {last_lines(done.stderr, 2)}")
        time.sleep(_POLL_S)


def _ids(opened: BpfObject) -> dict[str, int]:
    infos = [bpf.map_info(fd) for fd in opened.map_fds().values()]
    return {info.name: info.id for info in infos}


def _in_charge(built: BuiltObject, loads_before: int) -> sched_ext.SchedExtStatus:
    """Return what the kernel says; LoadError unless this scheduler is in charge."""

    def is_ours(status: sched_ext.SchedExtStatus) -> bool:
        named = status.ops == built.ops_name or not built.ops_name
        return status.enabled and named and status.enable_seq == loads_before + 1

    status = sched_ext.wait_for(is_ours, _STATE_TIMEOUT_S)
    if not is_ours(status):
        raise LoadError(
            f"{built.ops_name or built.path.name!r} was attached but is not in charge: "
            f"state {status.state!r}, ops {status.ops!r}"
        )
    return status


class _ExitInfo:
    """Why a scheduler ended, as its ops.exit has written it down, if it does."""

    _note: Variable | None = None

    def find(self, opened: BpfObject) -> None:
        with contextlib.suppress(OSError):  # a section that cannot be mapped
            self._note = opened.struct_with(_EXIT_INFO)

    def facts(self) -> Mapping[str, Any]:
        note = self._note
        if note is None or not note.number("kind"):
            return {}
        numbers = {name: note.number(name) for name in ("kind", "exit_code")}
        texts = {name: note.text(name) for name in ("reason", "msg")}
        return {"scheduler_exit": numbers | texts}

    def close(self) -> None:
        if self._note is not None:
            self._note.close()


class ScxLoader:
    name = "scx"

    def missing(self, job: Job) -> Sequence[str]:
        reasons = []
        module = job.built.module if job.built else ""
        if module and not (job.bin_dir / module).exists():
            reasons.append(
                "the strategy kfunc needs a kernel with scx_bpf_map_scan_timeout(), or "
                f"{module}, which is built where the kernel's headers are: leave "
                "--kernel away, install them (and make and gcc) for --backend host, or "
                "take another strategy"
            )
        if not sched_ext.available():
            reasons.append("this kernel has no sched_ext (CONFIG_SCHED_CLASS_EXT)")
        try:
            libbpf.open_library()
        except OSError as error:
            reasons.append(f"no libbpf to load with ({error}): {libbpf.REMEDY}")
        return reasons

    @contextlib.contextmanager
    def loaded(self, job: Job) -> Iterator[LoadedScheduler]:
        """Raises LoadError with the verifier's or the kernel's own words."""
        assert job.built is not None
        built = job.built
        before = sched_ext.status()
        if before.state != "disabled":
            raise LoadError(
                f"the scheduler {before.ops!r} is loaded already; unload it first"
            )
        with contextlib.ExitStack() as stack:
            group = None
            if cgroup.available() and cgroup.has_memory():
                group = stack.enter_context(cgroup.group(f"scxlab-{job.spec.run_id}"))
            if built.module:
                stack.enter_context(_module(job.bin_dir / built.module))
            opened = stack.enter_context(BpfObject(built.path))
            facts = dict(_settings.set_all(opened, built.settings, built.path.name))
            facts["timeout_ms"] = opened.struct_ops_number("timeout_ms")
            note = _ExitInfo()
            stack.callback(note.close)
            stack.callback(lambda: facts.update(note.facts()))
            stack.callback(_unloaded)
            stack.callback(opened.detach)
            _put_in(opened, group, job.out_dir / "load.log")
            note.find(opened)
            status = _in_charge(built, before.enable_seq)
            yield LoadedScheduler(status.ops, _ids(opened), group, facts)


LOADER = ScxLoader()
