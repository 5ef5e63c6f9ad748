# SPDX-License-Identifier: GPL-2.0-only
"""A sched_ext object file, loaded by bpftool and held by its link.

bpftool pins the link; we open it and take the pin away, so that the scheduler goes with
this process, even one that is killed. The link alone proves nothing: it outlives a
scheduler that the kernel has thrown out. What counts is /sys/kernel/sched_ext, asked
after loading and by the agent again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.errors import LoadError
from experiments.kernel import bpf, cgroup, sched_ext
from experiments.kernel.bpf import BPFFS
from experiments.model import BuiltObject, Job, LoadedScheduler
from experiments.support.proc import last_lines, run

#: The map of the strategy timer pins itself, by its name.
_TIMER_PIN = BPFFS / "scxlab_timer"
_LOAD_TIMEOUT_S = 60.0
_STATE_TIMEOUT_S = 20.0
_POLL_S = 0.05


def _register(built: BuiltObject, pin: Path, group: Path | None, log: Path) -> None:
    done = run(
        ["bpftool", "struct_ops", "register", built.path, pin],
        timeout_s=_LOAD_TIMEOUT_S,
        check=False,
        cgroup=group,
    )
    if done.returncode:
        log.write_text(done.stdout + done.stderr)
        raise LoadError(
            f"the kernel refuses {built.path.name}; its last words (all in {log.name}):"
            f"\n{last_lines(done.stderr, 15)}"
        )


@contextlib.contextmanager
def _held(pin: Path) -> Iterator[list[int]]:
    """The links below `pin` and, last, a timer's map, without their pins.

    Closing the last descriptor of its link unloads a scheduler; a timer is cancelled
    when nobody holds its map.
    """
    with contextlib.ExitStack() as stack:
        fds = []
        for path in (*sorted(pin.iterdir()), _TIMER_PIN):
            if path.exists():
                fds.append(bpf.open_pinned(path))
                stack.callback(os.close, fds[-1])
        _unpin(pin)
        yield fds


def _unpin(pin: Path) -> None:
    for path in pin.iterdir() if pin.exists() else ():
        path.unlink()
    if pin.exists():
        pin.rmdir()
    _TIMER_PIN.unlink(missing_ok=True)


def _unloaded(pin: Path) -> None:
    """Raise LoadError unless the kernel says so some time soon."""
    _unpin(pin)  # those of a load that went wrong halfway
    status = sched_ext.wait_for(lambda s: s.state == "disabled", _STATE_TIMEOUT_S)
    if status.state != "disabled":
        raise LoadError(f"{status.ops!r} does not unload: state is {status.state!r}")


@contextlib.contextmanager
def _module(path: Path) -> Iterator[None]:
    """A kernel module, in the kernel while the block runs."""
    run(["insmod", path], timeout_s=_LOAD_TIMEOUT_S)
    try:
        yield
    finally:
        _remove(path.stem)


def _remove(module: str) -> None:
    """Remove its pins and wait: programs are freed some time after detaching."""
    end = time.monotonic() + _STATE_TIMEOUT_S
    while True:
        done = run(["rmmod", module], timeout_s=_LOAD_TIMEOUT_S, check=False)
        if not done.returncode:
            return
        if time.monotonic() > end:
            raise LoadError(f"the module stays: {last_lines(done.stderr, 2)}")
        time.sleep(_POLL_S)


def _own_maps(link: int) -> dict[str, int]:
    """Return the maps of the programs that were loaded together with this link.

    All objects of one load share the id of its BTF, so no name is compared.
    """
    fds = []
    try:
        fds.append(struct_ops := bpf.open_map(bpf.link_map_id(link)))
        btf_id = bpf.map_info(struct_ops).btf_id
        ids = {i for p in bpf.progs_of_object(btf_id) for i in p.map_ids}
        fds += (handles := [bpf.open_map(i) for i in sorted(ids)])
        infos = [bpf.map_info(fd) for fd in handles]
    finally:
        for fd in fds:
            os.close(fd)
    return {info.name: info.id for info in infos}


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
        if not os.path.ismount(BPFFS):
            reasons.append(f"no bpffs at {BPFFS}: mount -t bpf bpf {BPFFS}")
        if shutil.which("bpftool") is None:
            reasons.append("no bpftool: apt-get install bpftool")
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
        pin = BPFFS / f"scxlab-{job.spec.run_id}"
        with contextlib.ExitStack() as stack:
            group = None
            if cgroup.available() and cgroup.has_memory():
                group = stack.enter_context(cgroup.group(f"scxlab-{job.spec.run_id}"))
            if built.module:
                stack.enter_context(_module(job.bin_dir / built.module))
            # A pin that a killed run has left would be taken for this run's map
            _TIMER_PIN.unlink(missing_ok=True)
            stack.callback(_unloaded, pin)
            _register(built, pin, group, job.out_dir / "load.log")
            links = stack.enter_context(_held(pin))

            def is_ours(status: sched_ext.SchedExtStatus) -> bool:
                named = status.ops == built.ops_name or not built.ops_name
                loads = status.enable_seq - before.enable_seq
                return status.enabled and named and loads == 1

            status = sched_ext.wait_for(is_ours, _STATE_TIMEOUT_S)
            if not is_ours(status):
                raise LoadError(
                    f"{built.ops_name or built.path.name!r} was registered but is not "
                    f"in charge: state {status.state!r}, ops {status.ops!r}"
                )
            yield LoadedScheduler(status.ops, _own_maps(links[0]), group)


LOADER = ScxLoader()
