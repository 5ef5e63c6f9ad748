# SPDX-License-Identifier: GPL-2.0-only
"""A sched_ext object file, loaded by bpftool and held by the pin of its link.

A pin alone proves nothing: the link outlives a scheduler that the kernel has thrown
out. What counts is /sys/kernel/sched_ext, asked after loading and by the agent again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.errors import LoadError
from experiments.kernel import bpf, cgroup, sched_ext
from experiments.model import BuiltObject, Job, Loaded
from experiments.proc import last_lines, run

BPFFS = Path("/sys/fs/bpf")
_LOAD_TIMEOUT_S = 60.0
_STATE_TIMEOUT_S = 20.0


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


def _unregister(pin: Path) -> None:
    """Removing the link's pin unloads; EBUSY and the like cannot happen here."""
    for path in pin.iterdir() if pin.exists() else ():
        path.unlink()
    if pin.exists():
        pin.rmdir()
    status = sched_ext.wait_for(lambda s: s.state == "disabled", _STATE_TIMEOUT_S)
    if status.state != "disabled":
        raise LoadError(f"{status.ops!r} does not unload: state is {status.state!r}")


def _own_maps(pin: Path) -> dict[str, int]:
    """The maps of the programs that were loaded together with the pinned link.

    All objects of one load share the id of its BTF, so no name is compared.
    """
    fds = []
    try:
        fds.append(link := bpf.open_pinned(next(pin.iterdir())))
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

    def missing(self) -> Sequence[str]:
        reasons = []
        if not sched_ext.available():
            reasons.append("this kernel has no sched_ext (CONFIG_SCHED_CLASS_EXT)")
        if not os.path.ismount(BPFFS):
            reasons.append(f"no bpffs at {BPFFS}: mount -t bpf bpf {BPFFS}")
        if shutil.which("bpftool") is None:
            reasons.append("no bpftool: apt-get install bpftool")
        return reasons

    @contextlib.contextmanager
    def loaded(self, job: Job) -> Iterator[Loaded]:
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
            stack.callback(_unregister, pin)
            _register(built, pin, group, job.out_dir / "load.log")
            status = sched_ext.wait_for(
                lambda s: s.enabled and s.ops == built.ops_name, _STATE_TIMEOUT_S
            )
            if not (status.enabled and status.ops == built.ops_name):
                raise LoadError(
                    f"{built.ops_name!r} was registered but is not in charge: "
                    f"state {status.state!r}, ops {status.ops!r}"
                )
            yield Loaded(built.ops_name, _own_maps(pin), group)


LOADER = ScxLoader()
