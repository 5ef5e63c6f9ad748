# SPDX-License-Identifier: GPL-2.0-only
"""What goes into a build, and what is taken of what it left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.build import workspace
from experiments.build.workspace import Workspace
from experiments.errors import BuildError


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    folder = tmp_path / "work"
    folder.mkdir()
    return Workspace(tmp_path / "root", folder)


def test_what_was_made_is_taken(place: Workspace, tmp_path: Path) -> None:
    (place.out / "x.o").write_bytes(b"object")
    place.take("x.o", tmp_path / "x.bpf.o")
    assert (tmp_path / "x.bpf.o").read_bytes() == b"object"
    assert (tmp_path / "x.bpf.o").stat().st_mode & 0o777 == 0o644


def test_links_and_pipes_are_no_objects(place: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (place.out / "link").symlink_to(secret)
    os.mkfifo(place.out / "pipe")
    (place.out / "folder").mkdir()
    for name in ("link", "pipe", "folder", "absent"):
        with pytest.raises(BuildError, match=r"out.o (was not made|is no file)"):
            place.take(name, tmp_path / "out.o")
    assert not (tmp_path / "out.o").exists()


def test_what_is_too_large_is_no_object(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "_MOST_RESULT_MB", 1)
    with (place.out / "x.o").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(BuildError, match="at most 1 MB"):
        place.take("x.o", tmp_path / "out.o")


def test_headers_are_copied_with_links_as_links(
    place: Workspace, tmp_path: Path
) -> None:
    headers = tmp_path / "headers"
    (headers / "sub").mkdir(parents=True)
    (headers / "sub/a.h").write_text("int a;")
    (headers / "b.h").symlink_to("sub/a.h")
    (headers / "passwd.h").symlink_to("/etc/passwd")
    os.mkfifo(headers / "pipe.h")
    place.add(headers, "include0")
    copied = tmp_path / "work/in/include0"
    assert (copied / "sub/a.h").read_text() == "int a;"
    assert (copied / "passwd.h").is_symlink()
    assert sorted(p.name for p in copied.iterdir()) == ["b.h", "passwd.h", "sub"]


def test_a_directory_that_is_not_of_headers_is_refused(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "_MOST_FILES", 2)
    for name in "abc":
        (tmp_path / f"h/{name}.h").parent.mkdir(exist_ok=True)
        (tmp_path / f"h/{name}.h").touch()
    with pytest.raises(BuildError, match="name a directory with the headers alone"):
        place.add(tmp_path / "h", "include0")


def test_a_source_is_a_file(place: Workspace, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.bpf.c")
    with pytest.raises(BuildError, match="is no file"):
        place.add(tmp_path / "x.bpf.c", "user/x.bpf.c")
