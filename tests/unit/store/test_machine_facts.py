# SPDX-License-Identifier: GPL-2.0-only
"""Facts of a machine: read from any manifest, written as ever, marked where shared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.errors import FormatError
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.machine import facts
from experiments.plan.config import parse_config
from experiments.registry import backend
from experiments.store.experiment import Experiment
from experiments.store.machine_facts import BY_NAME, SAME, Host, MachineFacts

GOLDEN = Path(__file__).parents[2] / "golden/results-schema1"
IN_GOLDEN = json.loads((GOLDEN / "manifest.json").read_text())["facts"]


def test_what_runs_share_is_what_names_of_experiments_are_made_of() -> None:
    """In this order; another one would rename experiments that are gone on with."""
    wanted = ("kernel_sha256", "accel", "vm", "labroot", "objects", "tools", "map")
    assert wanted == SAME
    assert BY_NAME == ("objects", "tools")


def test_facts_of_a_manifest_are_read_and_written_unchanged() -> None:
    read = MachineFacts.of(IN_GOLDEN)
    assert read.host is not None and read.host.cpus == 2
    assert read.labroot is not None and read.labroot.suite == "forky"
    assert json.dumps(read.written()) == json.dumps(IN_GOLDEN)


def test_a_manifest_that_is_updated_keeps_every_fact(tmp_path: Path) -> None:
    """Also those that nobody here knows, in their order."""
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    manifest["facts"] = {"of_mine": [1, {"b": 2, "a": None}], **IN_GOLDEN, "map": None}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    Experiment(tmp_path).update(retries=7)
    after = json.loads(path.read_text())["facts"]
    assert json.dumps(after) == json.dumps(manifest["facts"])
    assert MachineFacts.of(after) == MachineFacts.of(IN_GOLDEN)


def test_nothing_known_is_no_error() -> None:
    assert MachineFacts.of({}) == MachineFacts()
    assert MachineFacts().written() == {}
    assert MachineFacts().written("map") == {"map": None}


def test_a_wrong_fact_is_named() -> None:
    with pytest.raises(FormatError, match=r"facts: host\.cpus: "):
        MachineFacts.of({"host": {"cpus": "many"}})


def test_the_machine_is_written_with_every_fact_it_has_always_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(facts, "git_revision", lambda project: None)
    written = facts.machine(Path())
    assert list(written) == ["scxlab", "git", "host"]
    assert written["git"] is None, "outside a checkout it is null, and not absent"
    assert list(written["host"]) == list(IN_GOLDEN["host"])
    assert MachineFacts.of(written).host == Host(**written["host"])


@pytest.mark.parametrize("name", ["vm", "host"])
def test_backends_write_the_facts_they_always_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    root = LabRoot(tmp_path, "key", "forky", {"apt": "3"})
    kernel = Kernel("7.2", "86a2", tmp_path, tmp_path)
    made = backend(name)(parse_config({"schema": 1}, "test"), root, kernel)
    if name == "vm":
        monkeypatch.setattr(made, "_choose_accel", lambda: ("tcg", "no KVM"))
    written = made.facts()
    names = [n for n in IN_GOLDEN if n not in ("scxlab", "git", "host", "objects")]
    assert list(written) == [n for n in names if n != "vm" or name == "vm"]
    assert list(written["labroot"]) == list(IN_GOLDEN["labroot"])
