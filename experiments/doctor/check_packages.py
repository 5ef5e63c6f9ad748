# SPDX-License-Identifier: GPL-2.0-only
"""Python and its packages, against what pyproject.toml demands."""

from __future__ import annotations

import functools
import importlib
import platform
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from experiments import paths
from experiments.doctor.check import Answer, broken, found, missing

INSTALL = "pip install -e '.[dev]'"


@functools.cache
def _project() -> Mapping[str, Any]:
    section: Mapping[str, Any] = tomllib.loads(
        (paths.PROJECT / "pyproject.toml").read_text()
    )["project"]
    return section


def python() -> Answer:
    wanted = SpecifierSet(_project()["requires-python"])
    version = platform.python_version()
    if wanted.contains(version, prereleases=True):
        return found(version)
    return broken(
        f"{version}, and {wanted} is demanded",
        "apt-get install python3 python3-venv (Debian 12 or later), then a new venv",
    )


def runtime() -> Answer:
    """Return the dependencies: at the versions demanded, and importable."""
    wanted = _requirements(_project()["dependencies"])
    return _answer(wanted, _ill(wanted, _import_failure))


def development() -> Answer:
    """Return the extra `dev`: at the versions demanded.

    Some are type stubs, not to import.
    """
    wanted = _requirements(_project()["optional-dependencies"]["dev"])
    return _answer(wanted, _ill(wanted, lambda name: ""))


def _requirements(texts: Iterable[str]) -> list[Requirement]:
    all_of = map(Requirement, texts)
    return [r for r in all_of if r.marker is None or r.marker.evaluate()]


def _answer(wanted: Sequence[Requirement], ill: Iterable[str]) -> Answer:
    words = list(ill)
    if not words:
        return found(f"{len(wanted)} packages at the versions demanded")
    are_absent = all(word.startswith("no ") for word in words)
    return (missing if are_absent else broken)("; ".join(words), INSTALL)


def _ill(wanted: Sequence[Requirement], try_it: Callable[[str], str]) -> Iterator[str]:
    for requirement in wanted:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"no {requirement}"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} is {version}, not {requirement.specifier}"
        elif why := try_it(requirement.name):
            yield f"{requirement.name} does not import: {why}"


def _import_failure(name: str) -> str:
    try:
        importlib.import_module(_module(name))
    except Exception as error:  # a package may raise anything while it is imported
        return f"{type(error).__name__}: {error}"
    return ""


@functools.cache
def _modules() -> Mapping[str, Sequence[str]]:
    """Return distribution -> the modules it has, public ones first."""
    by_name: dict[str, list[str]] = {}
    for module, names in metadata.packages_distributions().items():
        for name in names:
            by_name.setdefault(canonicalize_name(name), []).append(module)
    return {k: sorted(v, key=lambda m: (m[0] == "_", m)) for k, v in by_name.items()}


def _module(name: str) -> str:
    """Return the module of a distribution: of its own name, or its first."""
    modules = _modules().get(canonicalize_name(name), [name])
    return name if name in modules else modules[0]
