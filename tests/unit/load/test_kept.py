# SPDX-License-Identifier: GPL-2.0-only
"""An aggregate that takes up an earlier one writes what one from the files writes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.aggregate import aggregate_experiment
from analysis.load import cache
from analysis.report import painting, sketch
from experiments.model import Outcome
from experiments.store.experiment import Experiment
from tests.unit import analysis_fixtures as fx

Step = Callable[[fx.Lab, random.Random], None]


def add(lab: fx.Lab, rng: random.Random) -> None:
    """A run that was not done; if all are, one of them with other numbers."""
    new = lab.experiment.pending(lab.specs) or [rng.choice(lab.specs)]
    shape = fx.growing if new[0].variant == "control" else fx.plateau
    lab.ok(new[0], fx.machine(shape()), facts=facts(lab, new[0].run))


def change(lab: fx.Lab, rng: random.Random) -> None:
    done = lab.experiment.finished(lab.specs)
    path = lab.experiment.files(rng.choice(done)).csv
    if path.exists() and path.read_text().count("\n") > 4:
        cell = str(rng.randrange(1000))
        path.write_text(fx.replace_cell(path.read_text(), 3, "map_entries", cell))


def eject(lab: fx.Lab, rng: random.Random) -> None:
    lab.broken(rng.choice(lab.specs), Outcome.EJECTED, f"stall {rng.random()}")


def truncate(lab: fx.Lab, rng: random.Random) -> None:
    path = lab.experiment.files(rng.choice(lab.experiment.finished(lab.specs))).csv
    if path.exists():
        path.write_bytes(path.read_bytes()[: rng.randrange(900)])


def lose(lab: fx.Lab, rng: random.Random) -> None:
    lab.experiment.files(rng.choice(lab.experiment.finished(lab.specs))).json.unlink()


def damage(lab: fx.Lab, rng: random.Random) -> None:
    (path,) = (lab.path / ".cache").glob("records-*.sqlite")
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data) - 64)
    data[at : at + 64] = rng.randbytes(64)
    path.write_bytes(data[: rng.choice((len(data), len(data) // 2))])


def other_code(lab: fx.Lab, rng: random.Random) -> None:
    """By its name the cache of this code, but with another one's content."""
    (path,) = (lab.path / ".cache").glob("records-*.sqlite")
    path.rename(path.with_name("records-000000000000.sqlite"))


STEPS: tuple[Step, ...] = (add, change, eject, truncate, lose, damage, other_code)


def facts(lab: fx.Lab, run: int) -> dict[str, object]:
    return {**fx.MEASURING, **fx.latency(lab.specs[run - 1])}


def written(experiment: Experiment) -> dict[str, bytes]:
    """What aggregate() writes, by the names of the files."""
    aggregate_experiment(experiment)
    files = [*experiment.path.glob("*.*"), *experiment.path.glob("plots/*")]
    return {path.name: path.read_bytes() for path in files if path.is_file()}


def afresh(experiment: Experiment, folder: Path) -> dict[str, bytes]:
    """The same of a copy which has nothing of an earlier call."""
    shutil.rmtree(folder, ignore_errors=True)
    old = shutil.ignore_patterns(".cache", "plots", "*.html", "*.md", "*.xml")
    shutil.copytree(experiment.path, folder / experiment.path.name, ignore=old)
    return written(Experiment(folder / experiment.path.name))


@pytest.fixture
def lab(tmp_path: Path) -> fx.Lab:
    specs = [s for w in ("hackbench", "stress-ng") for s in fx.arms(3, workload=w)]
    lab = fx.Lab(tmp_path / "e", specs)
    for _ in specs[:-3]:
        add(lab, random.Random(0))
    return lab


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_in_between(
    lab: fx.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What a figure shows stands for the figure: that is drawn in the test below."""

    def paint(shown: sketch.Sketch) -> bytes:
        return f"<svg>{shown.key}</svg>".encode()

    monkeypatch.setattr(painting, "paint", paint)
    monkeypatch.setattr(painting, "_MANY", 1000)
    rng = random.Random(seed)
    written(lab.experiment)
    for step in rng.sample(STEPS, len(STEPS)):
        step(lab, rng)
        assert written(lab.experiment) == afresh(lab.experiment, tmp_path / "f"), step


def test_a_new_run_has_its_own_figures_drawn_and_no_others(
    lab: fx.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint, names = painting.paint, list[str]()

    def counted(shown: sketch.Sketch) -> bytes:
        names.append(shown.name)
        return paint(shown)

    before = written(lab.experiment)
    monkeypatch.setattr(painting, "paint", counted)
    monkeypatch.setattr(painting, "_MANY", 1000)
    assert written(lab.experiment) == before
    assert names == []
    add(lab, random.Random(0))
    after = written(lab.experiment)
    assert names and all("stress-ng" in name for name in names)
    names.clear()
    assert afresh(lab.experiment, tmp_path / "f") == after
    assert any("hackbench" in name for name in names)


def test_figures_drawn_by_several_processes_are_the_same(
    lab: fx.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = written(lab.experiment)
    monkeypatch.setattr(painting, "_MANY", 1000)
    assert afresh(lab.experiment, tmp_path / "f") == together


def test_a_changed_figure_in_the_cache_is_noticed(lab: fx.Lab) -> None:
    first = written(lab.experiment)
    change = "update figures set svg = replace(svg, 'svg', 'gvs')"
    cache.use(lab.path, lambda kept: kept._database.execute(change).rowcount)
    assert written(lab.experiment) == first


SHOWN = pd.DataFrame({"variant": ["test", "test"], "timestamp": [0.0, 1.0]})


def figure(**changed: object) -> sketch.Sketch:
    parts: dict[str, object] = {
        "text": sketch.Text("finding", "basis"),
        "painter": "over_time",
        "shown": (SHOWN, sketch.Series("a", "b")),
    }
    return sketch.Sketch("name", "s", "w", **{**parts, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"text": sketch.Text("another finding", "basis")},
        {"painter": "metrics"},
        {"shown": (SHOWN, sketch.Series("a", "c"))},
        {"shown": (SHOWN.assign(timestamp=[0.0, 1.0000000001]),)},
        {"shown": (SHOWN.assign(timestamp=[0, 1]),)},
        {"shown": (SHOWN.assign(variant=["test", "control"]),)},
        {"shown": (SHOWN.rename(columns={"timestamp": "t"}),)},
    ],
)
def test_whatever_a_figure_shows_is_in_its_key(changed: dict[str, object]) -> None:
    assert figure().key == figure().key
    assert figure(**changed).key != figure().key
