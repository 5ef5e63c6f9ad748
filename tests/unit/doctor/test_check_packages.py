# SPDX-License-Identifier: GPL-2.0-only
"""Checks of Python and its packages."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest
import seaborn  # noqa: F401 - its first import starts a program to look for fonts

from experiments.doctor import check_packages
from experiments.doctor.check import CheckStatus
from tests.unit.doctor.answers import says

pytestmark = pytest.mark.usefixtures("cache")


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    says(check_packages.python(), CheckStatus.FOUND, platform.python_version())
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.4")
    says(
        check_packages.python(),
        CheckStatus.BROKEN,
        "3.10.4, and >=3.11 is demanded",
        "apt-get",
    )


def test_every_dependency_is_there_and_imports() -> None:
    says(
        check_packages.runtime(), CheckStatus.FOUND, "packages at the versions demanded"
    )
    says(
        check_packages.development(),
        CheckStatus.FOUND,
        "packages at the versions demanded",
    )


def test_the_module_of_a_distribution() -> None:
    assert check_packages._module("pyyaml") == "yaml"
    assert check_packages._module("pillow") == "PIL"
    assert check_packages._module("matplotlib") == "matplotlib"


def demand(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    project = {"dependencies": texts, "optional-dependencies": {"dev": texts}}
    monkeypatch.setattr(check_packages, "_project", lambda: project)


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    demand(monkeypatch, "rich>=13", "scxlab-no-such-thing>=2")
    for look in (check_packages.runtime, check_packages.development):
        says(look(), CheckStatus.MISSING, "no scxlab-no-such-thing>=2", "pip install")


def test_a_package_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    demand(monkeypatch, "rich>=999", "scxlab-no-such-thing")
    version = metadata.version("rich")
    says(check_packages.runtime(), CheckStatus.BROKEN, f"rich is {version}, not >=999")


def test_a_package_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    demand(monkeypatch, "rich")
    monkeypatch.setattr(check_packages, "_module", lambda name: "scxlab_no_such_module")
    says(
        check_packages.runtime(),
        CheckStatus.BROKEN,
        "rich does not import: ModuleNotFound",
    )
    says(check_packages.development(), CheckStatus.FOUND, "1 packages")


def test_a_requirement_of_another_system_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demand(monkeypatch, 'scxlab-no-such-thing; sys_platform == "win32"')
    says(check_packages.runtime(), CheckStatus.FOUND, "0 packages")
