# SPDX-License-Identifier: GPL-2.0-only
"""A workload for the guest: counts maps in every way there is, and prints what it got.

Its parameter `what` is a kind of map of MAPS, or `fallbacks`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from experiments.kernel import bpf, map_count, scratch_map
from experiments.model import Job, LoadedScheduler, Metric, Parameter, Round, RunSpec
from experiments.samplers.bpf_map import BpfMapSampler

#: No more, as they are walked key by key many times, and an emulator is slow.
ENTRIES = 1024
VALUE_SIZE = 24
#: What the kernel takes: LRU maps are always allocated beforehand.
MAPS = {
    "hash": (scratch_map.HASH, 0),
    "hash-no-prealloc": (scratch_map.HASH, scratch_map.NO_PREALLOC),
    "lru": (scratch_map.LRU_HASH, 0),
    "percpu": (scratch_map.PERCPU_HASH, 0),
    "percpu-no-prealloc": (scratch_map.PERCPU_HASH, scratch_map.NO_PREALLOC),
}
#: Between two keys of the inserter; slow enough that it does not end before the counts.
INSERT_PERIOD_S = 0.002
#: That many keys are inserted at least while one way counts, so many times in a row.
INSERTED = 20
COUNTS = 5


class CountMethods:
    name = "count-methods"
    summary = "counts maps in every way there is"
    parameters = {"what": Parameter("hash", 0, 0, "one of MAPS, or fallbacks")}
    sustained = True
    capabilities = ("sys_admin", "bpf", "perfmon", "dac_override", "fowner")

    def missing(self, bin_dir: Path) -> Sequence[str]:
        return ()

    def argv(self, spec: RunSpec, bin_dir: Path) -> Sequence[str]:
        code = Path(__file__).parents[1]
        script = (sys.executable, "-B", "-m", "workloads.count_methods")
        what = str(spec.workload_params["what"])
        return (
            *("env", f"PYTHONPATH={code}", *script),
            *(what, str(bin_dir), str(spec.duration_s)),
        )

    def parse(self, spec: RunSpec, rounds: Sequence[Round]) -> Sequence[Metric]:
        return [Metric("lasted", rounds[0].wall_s, "s", False)]


WORKLOAD = CountMethods()


# --- all ways give the same -----------------------------------------------------------


@contextlib.contextmanager
def counters(fd: int, bin_dir: Path) -> Iterator[list[map_count.EntryCounter]]:
    info = bpf.map_info(fd)
    made = [method(fd, info, bin_dir) for method in map_count.METHODS]
    yield made
    for counter in made:
        counter.close()


def walk(fd: int) -> set[int]:
    return {int.from_bytes(key, "little") for key in bpf.walk_keys(fd, 4)}


def of_kind(what: str, bin_dir: Path) -> dict[str, Any]:
    """`at_rest`: what was put in and what all ways count, of a map that nobody changes.

    `at_work`: [way, walk before, counts, walk after], while keys are inserted.
    """
    type_, flags = MAPS[what]
    with (
        scratch_map.created(type_, VALUE_SIZE, ENTRIES, flags) as fd,
        counters(fd, bin_dir) as made,
    ):
        at_rest = []

        def note(moment: str, put: int) -> None:
            counts = {counter.name: counter.count() for counter in made}
            with mock.patch.object(bpf, "BATCH_ENTRIES", 1):  # every bucket is too big
                info = bpf.map_info(fd)
                counts["batches that grow"] = sum(n for n, _ in bpf.batches(fd, info))
            at_rest.append([moment, put, len(walk(fd)), counts])

        note("empty", 0)
        for moment, put in (("one", 1), ("half", ENTRIES // 2), ("full", ENTRIES)):
            scratch_map.put(fd, range(put))
            note(moment, put)
        present = sorted(walk(fd))
        scratch_map.delete(fd, present[::3])
        note("after deletes", len(present) - len(present[::3]))
        scratch_map.delete(fd, walk(fd))
        note("emptied", 0)
        return {"at_rest": at_rest, "at_work": at_work(fd, made)}


def at_work(fd: int, made: Sequence[map_count.EntryCounter]) -> list[Any]:
    found = []
    with inserting(fd):
        for counter in made:
            before = after = len(walk(fd))
            counts = []
            while after < before + INSERTED and after < ENTRIES // 2:
                counts += [counter.count() for _ in range(COUNTS)]
                after = len(walk(fd))
            found.append([counter.name, before, counts, after])
    return found


@contextlib.contextmanager
def inserting(fd: int) -> Iterator[None]:
    """A process that fills half of the map, key by key, while the block runs.

    No more than half: a fuller LRU map evicts.
    """
    scratch_map.put(fd, range(ENTRIES // 8))
    child = os.fork()
    if child == 0:
        for key in range(ENTRIES // 8, ENTRIES // 2):
            scratch_map.put(fd, [key])
            time.sleep(INSERT_PERIOD_S)
        os._exit(0)
    yield
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


# --- what is missing ------------------------------------------------------------------


def fallbacks(bin_dir: Path) -> dict[str, Any]:
    """The way that is chosen where something is missing, and what the sampler says."""
    with scratch_map.created(scratch_map.HASH, VALUE_SIZE, ENTRIES) as fd:
        scratch_map.put(fd, range(100))

        def chosen(directory: Path = bin_dir) -> list[Any]:
            counter = map_count.choose(fd, directory)
            assert counter is not None
            said = [counter.name, counter.count()]
            counter.close()
            return said

        without = {"nothing": chosen()}
        for lack, arranged in lacks(bin_dir).items():
            with arranged() as directory:
                without[lack] = chosen(directory)
        without["nothing again"] = chosen()
    left = sorted(path.name for path in bpf.BPFFS.glob("*elem*"))
    return {"without": without, "left": left, "sampler": sampled(bin_dir)}


def lacks(
    bin_dir: Path,
) -> dict[str, Callable[[], contextlib.AbstractContextManager[Path]]]:
    pin = bpf.BPFFS / "scxlab-mapcount"

    @contextlib.contextmanager
    def bpftool() -> Iterator[Path]:
        pin.unlink()
        with mock.patch.dict(os.environ, PATH="/nowhere"):
            yield bin_dir

    @contextlib.contextmanager
    def bpffs() -> Iterator[Path]:
        """In the guest another file system is mounted on /tmp."""
        with mock.patch.object(bpf, "BPFFS", Path("/tmp")):
            yield bin_dir

    @contextlib.contextmanager
    def writable_bpffs() -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as path:
            subprocess.run(["mount", "-t", "bpf", "-o", "ro", "bpf", path], check=True)
            with mock.patch.object(bpf, "BPFFS", Path(path)):
                yield bin_dir
            subprocess.run(["umount", path], check=True)

    @contextlib.contextmanager
    def kfunc() -> Iterator[Path]:
        """An object that is refused, as this one is by a kernel before 6.6."""
        pin.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as path:
            objects = Path(path)
            shutil.copyfile(bin_dir / "elemcount.bpf.o", objects / "elemcount.bpf.o")
            (objects / "mapcount.bpf.o").write_bytes(b"\x7fELF of nothing")
            yield objects

    @contextlib.contextmanager
    def objects() -> Iterator[Path]:
        pin.unlink(missing_ok=True)
        yield Path("/tmp/nowhere")

    made = (bpffs, bpftool, writable_bpffs, kfunc, objects)
    return {function.__name__: function for function in made}


def sampled(bin_dir: Path) -> dict[str, Any]:
    """A sampler's words, whose watched map nobody else holds and whose other goes."""
    create = scratch_map.created
    job = Job(None, None, bin_dir, Path("/tmp"))  # type: ignore[arg-type]
    with contextlib.ExitStack() as rest, create(scratch_map.ARRAY, 8, 7) as plain:
        watched = rest.enter_context(create(scratch_map.HASH, VALUE_SIZE, ENTRIES))
        other = rest.enter_context(create(scratch_map.HASH, VALUE_SIZE, 50))
        ids = [bpf.map_info(fd).id for fd in (watched, other, plain)]
        maps = dict(zip(("watched", "other", "plain"), ids, strict=True))
        maps["never"] = 2**31 - 1
        scratch_map.put(watched, range(10))
        sampler = BpfMapSampler(job, LoadedScheduler("", maps, None))
        scratch_map.put(watched, range(20))
        rest.close()
        said = {
            "missing": sampler.missing(),
            "facts": sampler.facts(),
            "sample": sampler.sample(),
            **sampler.finish(),
        }
        sampler.close()
    return said


def main(what: str, bin_dir: Path, duration_s: int) -> None:
    end = time.monotonic() + duration_s
    found = fallbacks(bin_dir) if what == "fallbacks" else of_kind(what, bin_dir)
    print(json.dumps(found), flush=True)
    time.sleep(max(0.0, end - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
