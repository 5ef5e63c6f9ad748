# SPDX-License-Identifier: GPL-2.0-only
"""What sampling costs: the ways to count a map, a whole sample, and how late it comes.

Measured on the kernel of this machine, with the programs of the lab root and from
within it, in a mount namespace with a bpffs of its own: nothing is installed and
nothing stays mounted. sampling_probe.py measures, this module sums up.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import paths
from experiments.bench import sampling_probe
from experiments.bench.sampling_probe import DUMP_AND_GREP, SAMPLE, WOKEN_SAMPLE
from experiments.build.builder import Builder
from experiments.errors import MissingRequirement, RunFailed
from experiments.kernel import cgroup, scratch_map
from experiments.labroot import kernel_image, lab_root
from experiments.model import NO_CLEANUP, BuildRequest, Variant
from experiments.plan import knobs
from experiments.support import userns
from experiments.support.console import ReportStep, say, steps
from experiments.support.proc import end, last_lines, start
from experiments.support.quantiles import percentile

_SCHEDULER = "scx_simple"
#: Enters the lab root with the places that it is given, and all privileges: these are
#: programs of this project, and what they measure is this kernel.
_ENTER = """\
root=$1; shift
mount -t tmpfs tmpfs "$root/lab"
while [ "$1" != -- ]; do
	mkdir -p "$root$2"
	mount --bind "$1" "$root$2"
	shift 2
done
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
"""
_INSIDE = """\
mount -t bpf bpf /sys/fs/bpf
[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /lab/src
exec python3 -B -m experiments.bench.sampling_probe "$@"
"""

Row = dict[str, Any]


def measure() -> list[Row]:
    """Return rows of {method, entries, ...}: times in us of one count, lateness in us.

    Low and high are quartiles; `ratio` is the CPU time of the peers' way by this one's.
    Raises MissingRequirement where bpf(2) is refused.
    """
    root = lab_root.open_root()
    require_bpf()
    kernel = kernel_image.prepare(root)
    builder = Builder(root, kernel)
    builder.tools()
    defaults = {name: knob.default for name, knob in knobs.KNOBS.items()}
    control = Variant("bench", NO_CLEANUP, defaults)
    built = builder.build(BuildRequest(_SCHEDULER, control))
    argv = ["sh", "-ec", _INSIDE, "probe", "/lab/build/bin", json.dumps(built.counters)]
    binds = {"/lab/src": paths.PROJECT, "/lab/build": paths.BUILD, "/sys": Path("/sys")}
    if cgroup.available():
        binds[str(cgroup.ROOT)] = cgroup.ROOT
    with steps("measuring what sampling costs (about 5 minutes)") as report:
        said = list(_lines(_enter(root.path, argv, binds), report))
    for line in said:
        if "samplers" in line:
            say(f"a whole sample is of {', '.join(line['samplers'])}:")
            say(f"  {', '.join(line['columns'])}")
    return [*costs(said), *latenesses(said)]


def _enter(
    root: Path, argv: Sequence[str | Path], binds: Mapping[str, Path]
) -> list[str]:
    """Return the command that runs `argv` in the root, which has `binds` of ours."""
    pairs = [str(part) for place, seen in binds.items() for part in (seen, place)]
    return [
        *userns.unshare("--propagation", "private"),
        *("sh", "-ec", _ENTER, "enter", str(root), *pairs, "--"),
        *(str(word) for word in argv),
    ]


def require_bpf() -> None:
    """Raise MissingRequirement where this kernel lets us make no map."""
    try:
        with scratch_map.created(scratch_map.ARRAY, 8, 1):
            pass
    except OSError as error:
        raise MissingRequirement(
            f"bpf(2) is refused here ({error.strerror}): be root on the machine itself "
            "or in a container with CAP_SYS_ADMIN and CAP_BPF, with a kernel that has "
            "CONFIG_BPF_SYSCALL, and without lockdown=confidentiality"
        ) from None


def _lines(command: Sequence[str], report: ReportStep) -> Iterator[Mapping[str, Any]]:
    """Yield what the probe says; its steps are for the user."""
    with tempfile.TemporaryFile() as errors:
        env = lab_root.inside_env()
        process = start(command, stdout=subprocess.PIPE, stderr=errors, env=env)
        assert process.stdout is not None
        try:
            for line in map(json.loads, process.stdout):
                if "step" in line:
                    report(line["step"])
                else:
                    yield line
            status = process.wait()
        finally:
            end(process)
            process.stdout.close()
        if status:
            errors.seek(os.SEEK_SET)
            words = last_lines(errors.read().decode(errors="replace"), 8)
            raise RunFailed(f"measuring ended with status {status}:\n{words}")


# --- rows -----------------------------------------------------------------------------


def costs(said: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each way and size, of all its measurements."""
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for line in said:
        if "cpu_us" in line:
            groups.setdefault((line["entries"], line["method"]), []).append(line)
    rows = [
        {
            "method": method,
            "entries": entries,
            "n": len(lines),
            **_spread("cpu_us", [line["cpu_us"] for line in lines]),
            **_spread("wall_us", [line["wall_us"] for line in lines]),
        }
        for (entries, method), lines in groups.items()
    ]
    order = [method for _, method in groups]
    rows.sort(key=lambda row: (row["entries"], order.index(row["method"])))
    for row in rows:
        row["ratio"] = _ratio(rows, DUMP_AND_GREP, row["entries"], row)
    return rows


def _spread(name: str, values: Sequence[float]) -> Row:
    low, middle, high = (percentile(values, p, "linear") for p in (25, 50, 75))
    found = {name: middle, f"{name}_low": low, f"{name}_high": high}
    return {key: round(value, 1) for key, value in found.items()}


def _ratio(rows: Sequence[Row], method: str, entries: int, by: Row) -> float | None:
    """Return CPU time of another row by that of this one; None without both."""
    other = _row(rows, method, entries)
    if other is None or not by["cpu_us"]:
        return None
    return float(f"{other['cpu_us'] / by['cpu_us']:.3g}")


def _row(rows: Sequence[Row], method: str, entries: int) -> Row | None:
    found = [r for r in rows if (r["method"], r["entries"]) == (method, entries)]
    return found[0] if found else None


def latenesses(said: Iterable[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for line in said:
        if "late_us" not in line:
            continue
        late = line["late_us"]
        rows.append(
            {
                "method": f"lateness at {line['policy']}",
                "entries": None,
                "n": len(late),
                "late_p50_us": round(percentile(late, 50, "inverted_cdf"), 1),
                "late_p99_us": round(percentile(late, 99, "inverted_cdf"), 1),
                "late_max_us": round(max(late), 1),
                "missed_deadlines": line["missed"],
                "cpu_percent": round(line["cpu_percent"], 3),
            }
        )
    return rows


def ratios(rows: Sequence[Row]) -> list[Row]:
    """Return what the goals are about, of the CPU times.

    The number, no verdict on it.
    """
    small, *_, large = sorted(sampling_probe.SIZES)
    found = []
    for sample in (SAMPLE, WOKEN_SAMPLE):
        at_small, at_large = (_row(rows, sample, n) for n in (small, large))
        if at_small is None or at_large is None:
            continue
        peers = _ratio(rows, DUMP_AND_GREP, small, at_small)
        growth = _ratio(rows, sample, large, at_small)
        found += [
            {
                "ratio of CPU times": f"{DUMP_AND_GREP} / {sample}, {small:,} entries",
                "measured": peers,
                "goal": "at least 1000",
            },
            {
                "ratio of CPU times": f"{sample}, {large:,} / {small:,} entries",
                "measured": growth,
                "goal": "at most 1.5",
            },
        ]
    return found
