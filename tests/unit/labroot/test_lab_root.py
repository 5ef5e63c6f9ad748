# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import getpass
import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from experiments.errors import LabRootError, MissingRequirement
from experiments.labroot import lab_root, make
from experiments.support import userns


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "scxlab"


def fill(path: Path) -> None:
    for name in ("usr/bin/clang", "usr/sbin/bpftool", "usr/bin/qemu-system-x86_64"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    (path / "lab").mkdir()
    said = {"key": lab_root.key(), "suite": lab_root.SUITE, "packages": {"clang": "1"}}
    (path / "lab/labroot.json").write_text(json.dumps(said))


def test_it_lies_in_the_users_cache(cache: Path) -> None:
    assert lab_root.place().parent == cache


def test_no_root_yet_says_how_to_make_it_and_what_it_takes() -> None:
    with pytest.raises(MissingRequirement, match=r"invoke setup \(downloads"):
        lab_root.open_root()


def test_a_finished_root_opens() -> None:
    fill(lab_root.place())
    assert lab_root.open_root().packages == {"clang": "1"}


def test_opening_it_again_takes_no_more_descriptors() -> None:
    fill(lab_root.place())
    lab_root.open_root()
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        lab_root.open_root()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_root_without_its_stamp_is_not_there() -> None:
    fill(lab_root.place())
    (lab_root.place() / "lab/labroot.json").unlink()
    with pytest.raises(MissingRequirement):
        lab_root.open_root()


def test_a_damaged_root_is_named() -> None:
    fill(lab_root.place())
    (lab_root.place() / "usr/bin/clang").unlink()
    with pytest.raises(LabRootError, match=r"clang is gone: invoke setup --refresh"):
        lab_root.open_root()
    (lab_root.place() / "lab/labroot.json").write_text("{")
    with pytest.raises(LabRootError, match="damaged"):
        lab_root.open_root()


def test_without_root_it_takes_a_user_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    uses = (lab_root.open_root, lambda: make.make(print))
    for found, words in ((None, "install uidmap"), ("x", "usermod .* somebody")):
        monkeypatch.setattr(shutil, "which", lambda name, found=found: found)
        monkeypatch.setattr(userns, "SUBIDS", (tmp_path / "absent",))
        for use in uses:
            userns.refusal.cache_clear()
            with pytest.raises(MissingRequirement, match=f"{words}.*sudo") as caught:
                use()
            assert caught.value.exit_code == 4
    userns.refusal.cache_clear()


def test_a_user_is_root_in_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--user" not in userns.unshare()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert userns.unshare("--propagation", "private") == [
        *("unshare", "--user", "--map-root-user", "--map-auto"),
        *("--mount", "--pid", "--fork", "--kill-child"),
        *("--propagation", "private", "--"),
    ]


def test_a_full_disk_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 10**9))
    with pytest.raises(MissingRequirement, match=r"1\.0 GB free.*needs 4 GB"):
        make.make(print)
    assert [p.name for p in cache.iterdir()] == [".lock"]


def test_no_mmdebstrap_and_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingRequirement, match="no mmdebstrap, and no apt-get"):
        make.make(print)


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        ('Acquire::Check-Valid-Until "false";', 'Acquire::Check-Valid-Until "false"'),
        (
            'Acquire::http::Proxy "http://p:3142";',
            'Acquire::http::Proxy "http://p:3142"',
        ),
        ('Acquire::https::CaInfo "/x";', 'Acquire::https::CaInfo "/x"'),
        ('Acquire::cdrom::mount "/media";', None),
        ("Acquire::IndexTargets::deb::Packages;", None),
        ("", None),
    ],
)
def test_apt_settings_that_go_inside(line: str, passed: str | None) -> None:
    assert make._apt_setting(line) == passed


def test_the_key_follows_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lab_root.key()
    monkeypatch.setattr(lab_root, "PACKAGES", (*lab_root.PACKAGES, "more"))
    assert lab_root.key() != before
