# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.build.builder import Builder
from experiments.errors import BuildError, ConfigError
from experiments.labroot.cell import Bind, run_inside
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import BuildRequest, BuiltObject, Params, Variant
from experiments.paths import BUILD, SCHEDULERS
from experiments.plan import scheduler_source
from experiments.plan.blocks import build_plan
from experiments.plan.config import parse_config
from experiments.plan.knobs import CLEANUPS, KNOBS

UPSTREAM = Path(__file__).parent / "upstream"
#: Strategies whose treatment is the kind of the map of tasks.
ANOTHER_KIND_OF_MAP = ("lru", "storage")

DEFAULTS = {name: knob.default for name, knob in KNOBS.items()}


def btf(root: LabRoot, path: Path) -> list[dict[str, Any]]:
    argv = ["bpftool", "-j", "btf", "dump", "file", f"/lab/build/{path.name}"]
    done = run_inside(root.path, argv, timeout_s=60, binds=[Bind(BUILD, "/lab/build")])
    types: list[dict[str, Any]] = json.loads(done.stdout)["types"]
    return types


def maps(types: list[dict[str, Any]]) -> dict[str, Any]:
    """name -> the members that define it; all settings of a map are types of BTF."""
    by_id = {t["id"]: t for t in types}

    def resolve(type_id: int, depth: int = 6) -> Any:
        found = by_id.get(type_id)
        if found is None or depth == 0:
            return type_id and "deep"
        names = ("kind", "name", "nr_elems", "size")
        kept: dict[str, Any] = {k: found[k] for k in names if k in found}
        if "type_id" in found:
            kept["of"] = resolve(found["type_id"], depth - 1)
        members = found.get("members", [])
        kept["members"] = [
            (m["name"], resolve(m["type_id"], depth - 1)) for m in members
        ]
        return kept

    section = next(t for t in types if t["kind"] == "DATASEC" and t["name"] == ".maps")
    variables = [by_id[v["type_id"]] for v in section["vars"]]
    return {v["name"]: resolve(v["type_id"]) for v in variables}


def request(name: str, variant: str, cleanup: str, knobs: Params) -> BuildRequest:
    return BuildRequest(name, Variant(variant, cleanup, knobs))


#: Every strategy with one scheduler, every scheduler with one strategy: the strategies
#: are in headers that all schedulers share.
PAIRS = [
    *(("scx_simple", cleanup) for cleanup in CLEANUPS),
    *((name, "scan") for name in scheduler_source.names() if name != "scx_simple"),
]


@pytest.mark.parametrize(("name", "cleanup"), PAIRS)
def test_control_and_test_have_the_same_programs_and_maps(
    builder: Builder, root: LabRoot, name: str, cleanup: str
) -> None:
    control = builder.build(request(name, "itest-control", "none", DEFAULTS))
    test = builder.build(request(name, f"itest-{cleanup}", cleanup, DEFAULTS))
    types = [btf(root, b.path) for b in (control, test)]
    assert len(programs(types[0])) > 4
    assert programs(types[0]) == programs(types[1])
    of_control, of_test = map(maps, types)
    assert "tasks" in of_control
    if cleanup in ANOTHER_KIND_OF_MAP:
        del of_control["tasks"], of_test["tasks"]
    of_test.pop("scxlab_timer", None)  # nobody but the strategy timer needs it
    assert of_control == of_test
    assert control.counters == test.counters
    assert control.counters["evicted"] % 8 == 0
    assert control.sha256 != test.sha256


def test_settings_reach_the_object(builder: Builder, root: LabRoot) -> None:
    small = builder.build(
        request("scx_simple", "itest-small", "none", {**DEFAULTS, "max_entries": 128})
    )
    large = builder.build(request("scx_simple", "itest-large", "none", DEFAULTS))
    assert maps(btf(root, small.path)) != maps(btf(root, large.path))


def test_what_has_not_changed_is_not_built_again(builder: Builder) -> None:
    first = builder.build(request("scx_simple", "itest-twice", "none", DEFAULTS))
    written = first.path.stat().st_mtime_ns
    again = builder.build(request("scx_simple", "itest-twice", "none", DEFAULTS))
    assert again == first
    assert again.path.stat().st_mtime_ns == written
    changed = {**DEFAULTS, "max_age_ms": 77}
    builder.build(request("scx_simple", "itest-twice", "scan", changed))
    assert first.path.stat().st_mtime_ns != written


def test_the_compilers_words_reach_the_user(builder: Builder) -> None:
    target = BUILD / "itest-broken.bpf.o"
    with pytest.raises(BuildError) as caught:
        builder.bpf_object(
            SCHEDULERS / "control/scx_simple.bpf.c",
            target,
            ['-DOPS_NAME="x"', "-DMAX_ENTRIES=1"],
        )
    assert "MAX_ENTRIES" in str(caught.value)
    assert "static assertion failed" in str(caught.value)
    assert str(BUILD / "itest-broken.bpf.log") in str(caught.value)
    assert not target.exists()


@pytest.fixture
def own(root: LabRoot, kernel: Kernel) -> Callable[..., BuiltObject]:
    """Builds the control of a user's own scheduler."""

    def build(path: Path, **settings: int) -> BuiltObject:
        asked = {"schedulers": [str(path)], "include": [UPSTREAM], "settings": settings}
        plan = build_plan(parse_config({"schema": 1, **asked}, "test"))
        return Builder(root, kernel).build(plan.builds[0])

    return build


def test_settings_of_read_only_data_are_handed_on(
    own: Callable[..., BuiltObject],
) -> None:
    built = own(UPSTREAM / "tick.bpf.c", slice_ns=2**64 - 1, fail_after=-1, unused=1)
    assert built.settings == {"slice_ns": 2**64 - 1, "fail_after": -1, "unused": 1}
    assert built.sha256 == hashlib.sha256(built.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slice": 1}, "unknown number.*tick.bpf.c.*'slice'; did you mean 'slice_ns'"),
        ({"uei": 1}, "unknown number"),  # no number, and not read-only
        ({"per_tick": 1 << 32}, "per_tick=4294967296: .* takes 0 to 4294967295"),
        ({"fail_after": 1 << 31}, "takes -2147483648 to 2147483647"),
        ({"unused": 2}, "takes 0 to 1"),
        ({"slice_ns": -1}, "takes 0 to 18446744073709551615"),
    ],
)
def test_settings_that_the_object_cannot_take_are_told_before_anything_runs(
    own: Callable[..., BuiltObject], settings: dict[str, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        own(UPSTREAM / "tick.bpf.c", **settings)


def test_a_scheduler_of_ours_says_that_it_has_no_such_number(builder: Builder) -> None:
    with pytest.raises(ConfigError, match=r"unknown number.*scx_simple.*'fifo'"):
        builder.build(
            request("scx_simple", "itest-set", "none", {**DEFAULTS, "set.fifo": 1})
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no object file of BPF"),
        (b"\x7fELF\x02\x01\x01 and so on", "is no object file of BPF"),
        (Path("/bin/sh").read_bytes(), "is no object file of BPF"),
    ],
)
def test_what_is_no_object_is_told(
    own: Callable[..., BuiltObject], tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "mine.bpf.o"
    path.write_bytes(content)
    with pytest.raises(BuildError, match=words):
        own(path)


def test_an_object_without_a_scheduler_is_told(
    own: Callable[..., BuiltObject], builder: Builder, tmp_path: Path
) -> None:
    path = tmp_path / "mine.bpf.o"
    shutil.copy(builder.tools() / "mapcount.bpf.o", path)
    with pytest.raises(BuildError, match="no struct_ops"):
        own(path)


def programs(types: list[dict[str, Any]]) -> set[str]:
    """The callbacks of struct_ops: the global functions."""
    return {
        t["name"] for t in types if t["kind"] == "FUNC" and t["linkage"] == "global"
    }
