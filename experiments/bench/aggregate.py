# SPDX-License-Identifier: GPL-2.0-only
"""What aggregating costs: ours against one pass of awk, and a loop of pandas.

On made-up experiments, which lie in a directory that is thrown away.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import paths
from experiments.bench import synthetic
from experiments.errors import RunFailed
from experiments.store.experiment import Experiment
from experiments.support import proc, tempdirs

SIZES = (2_000, 20_000)

_AWK = "FNR > 1 { n++; s += $2; if ($2 > m) m = $2 } END { print n, s / n, m }"
_PANDAS = """
from pathlib import Path
import pandas as pd
frames = []
for path in sorted(Path().glob("*/*/*_run*.csv")):
    workload = path.stem.rpartition("_run")[0]
    frames.append(pd.read_csv(path).assign(variant=path.parent.name, workload=workload))
by_arm = pd.concat(frames, ignore_index=True).groupby(["workload", "variant"])
print(by_arm["map_entries"].agg(["mean", "max"]), by_arm["evictions"].max())
"""
_READ = """
from pathlib import Path
from analysis.load.frames import load
from experiments.store.experiment import Experiment
print(len(load(Experiment(Path())).runs))
"""
_AGGREGATE = """
from pathlib import Path
from analysis.aggregate import aggregate_experiment
from experiments.store.experiment import Experiment
print(len(aggregate_experiment(Experiment(Path().resolve())).runs))
"""

#: All that the others import, seaborn too, which is only imported to draw.
_IMPORT = (
    "import seaborn; from analysis import aggregate; "
    "from analysis.report import painting; painting.painters()"
)

AWK, PANDAS = "awk, one pass", "pandas, a loop"
COMPILE = "compile what is imported"
FIRST, SECOND = "aggregate", "aggregate after a new run"
READ_FIRST, READ_SECOND = "  of it reading", "  of it reading after a new run"

_Row = dict[str, Any]


def measure(sizes: Sequence[int] = SIZES) -> list[_Row]:
    """Return rows of {what, runs, wall_s, cpu_s, peak_mb}.

    Each is a process of its own, so time includes its imports, of modules that were
    compiled before; `peak_mb` is the largest resident set of it or one of its children,
    in MB of 10^6 bytes.
    """
    return [row for runs in sizes for row in _of_size(runs)]


def _of_size(runs: int) -> list[_Row]:
    with tempdirs.directory("bench") as path:
        experiment = synthetic.make(path, runs)
        files = [str(p.relative_to(path)) for p in sorted(path.glob("*/*/*_run*.csv"))]
        python = [sys.executable, "-c"]
        _timed(COMPILE, [*python, _IMPORT], path)
        rows = [
            _timed(AWK, ["awk", "-F,", _AWK, *files], path),
            _timed(PANDAS, [*python, _PANDAS], path),
            _timed(READ_FIRST, [*python, _READ], path),
        ]
        _change_one(experiment)
        rows.append(_timed(READ_SECOND, [*python, _READ], path))
        _forget(experiment)
        rows.append(_timed(FIRST, [*python, _AGGREGATE], path))
        _change_one(experiment)
        rows.append(_timed(SECOND, [*python, _AGGREGATE], path))
    return [{"what": row.pop("what"), "runs": runs, **row} for row in rows]


def _change_one(experiment: Experiment) -> None:
    """Write other numbers for the last run.

    To whoever has read it, that is as good as a new one.
    """
    synthetic.write_run(
        experiment, experiment.manifest().specs[-1], time.monotonic_ns()
    )


def _forget(experiment: Experiment) -> None:
    for path in (experiment.path / ".cache").iterdir():
        path.unlink()


def _timed(what: str, argv: Sequence[str], cwd: Path) -> _Row:
    began = time.monotonic()
    variables = {
        **os.environ,
        "PYTHONPATH": str(paths.PROJECT),
        "PYTHONPYCACHEPREFIX": str(cwd / ".compiled"),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    with tempfile.TemporaryFile() as errors:
        process = proc.start(argv, cwd=cwd, env=variables, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = proc.last_lines(errors.read().decode("utf-8", "replace"), 3)
    if process.returncode:
        raise RunFailed(f"{what.strip()} ended with {process.returncode}: {said}")
    return {
        "what": what,
        "wall_s": round(time.monotonic() - began, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss * 1024 / 1e6),
    }


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[_Row]:
    """Return, for each size, how many times as fast one thing is as another.

    In wall time.
    """
    pairs = [(PANDAS, FIRST), (PANDAS, READ_FIRST), (FIRST, SECOND)]
    pairs += [(READ_FIRST, READ_SECOND), (FIRST, AWK)]
    wall_s = {(row["runs"], row["what"]): row["wall_s"] for row in rows}
    return [
        {
            "ratio": f"{slow.strip()} / {fast.strip()}",
            "runs": runs,
            "times": round(wall_s[runs, slow] / wall_s[runs, fast], 1),
        }
        for runs in dict.fromkeys(row["runs"] for row in rows)
        for slow, fast in pairs
    ]
