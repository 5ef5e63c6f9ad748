# SPDX-License-Identifier: GPL-2.0-only
"""Sources -> objects, by the compilers of the lab root, in `build/`.

An object is built again when anything that it depends on has changed: its sources, its
settings, the kernel it is built against, the compiler.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import paths
from experiments.build.compiler import BPF_FLAGS, Compiler
from experiments.build.object_types import ObjectTypes
from experiments.errors import BuildError
from experiments.kernel.integers import check_settings
from experiments.labroot import lab_root
from experiments.labroot.kernel_image import Kernel
from experiments.labroot.lab_root import LabRoot
from experiments.model import (
    CONTROL,
    NO_CLEANUP,
    TEST,
    BuildRequest,
    BuiltObject,
    digest,
)
from experiments.plan import generated, knobs
from experiments.plan.knobs import CLEANUPS
from experiments.plan.scheduler_source import OWN
from experiments.support.files import atomic_write

TASKS_MAP = "tasks"
COUNTERS_MAP = ".bss.counters"
_COUNTERS_STRUCT = "cleanup_counters"
_RECORD_STRUCT = "task_record"

MODULE = "scx_map_scan.ko"
#: The strategy that needs it.
_BY_MODULE = "kfunc"
_MODULE_SOURCE = paths.SCHEDULERS / "module"
#: What a kernel declares that needs no module for the strategy kfunc.
_HELPER = "scx_bpf_map_scan_timeout("

#: Sources of what runs beside the schedulers: each becomes a BPF object or a program.
_TOOLS = (
    *("experiments/kernel/*.bpf.c", "experiments/samplers/*.bpf.c"),
    "workloads/src/*.c",
)

#: Static, as it also runs beside an older libc, that of the machine.
_C_FLAGS = ("-O2", "-static", "-Wall", "-Wextra", "-Werror")


class Builder:
    """Builds against one kernel; `build/` is its cache."""

    def __init__(self, root: LabRoot, kernel: Kernel) -> None:
        self._root = root
        self._kernel = kernel
        self._compiler = Compiler(root, kernel)
        paths.BIN.mkdir(parents=True, exist_ok=True)

    def build(self, request: BuildRequest) -> BuiltObject:
        """Build what `request` names.

        Raises BuildError with the compiler's last lines.
        """
        if request.command:
            return _program(request)
        if request.file is not None:
            return self._own(request, request.file)
        if request.variant.cleanup == _BY_MODULE:
            self.module()
        return self._builtin(request)

    def _builtin(self, request: BuildRequest) -> BuiltObject:
        """Build a scheduler of this project, again only if anything has changed."""
        name, variant = request.scheduler, request.variant
        is_control = variant.cleanup == NO_CLEANUP
        ops_name = f"{name}_{CONTROL if is_control else variant.cleanup}"
        defines = [
            *knobs.defines(variant.cleanup, variant.knobs),
            f'-DOPS_NAME="{ops_name}"',
        ]
        key = self._key(defines, paths.SCHEDULERS)
        target = paths.BUILD / f"{name}_{variant.name}.bpf.o"
        stamp = _stamp(target)
        said = _read(stamp, key)
        if said is None or not target.exists():
            folder = CONTROL if is_control else TEST
            source = paths.SCHEDULERS / folder / f"{name}.bpf.c"
            stamp.unlink(missing_ok=True)
            self.bpf_object(source, target, defines)
            said = {
                "key": key,
                "sha256": _sha256(target),
                **_layouts(self._compiler.types(target)),
                "defines": defines,
                "kernel": self._kernel.version,
            }
            atomic_write(stamp, json.dumps(said, indent=1))
        if variant.settings:
            known = self._compiler.types(target).settings()
            check_settings(variant.settings, known, name)
        needs_module = variant.cleanup == _BY_MODULE and not self._has_helper()
        return BuiltObject(
            path=target,
            sha256=said["sha256"],
            ops_name=ops_name,
            cleanup=variant.cleanup,
            tasks_map=TASKS_MAP,
            counters_map=COUNTERS_MAP,
            counters=said["counters"],
            record=said["record"],
            needs_census=not is_control and CLEANUPS[variant.cleanup].needs_census,
            module=MODULE if needs_module else "",
            settings=variant.settings,
        )

    def _own(self, request: BuildRequest, file: Path) -> BuiltObject:
        """Return the object of a user's scheduler."""
        target = paths.BUILD / f"own-{request.scheduler}_{request.variant.name}.bpf.o"
        if file.name.endswith(".bpf.o"):
            shutil.copyfile(file, target)
            target.chmod(0o644)
        else:
            self._compile_own(request, file, target)
        try:
            types = self._compiler.types(target)
        except BuildError as error:
            raise BuildError(f"{file} is no object file of BPF: {error}") from None
        if not types.has_scheduler:
            target.unlink()
            raise BuildError(f"{file} has no struct_ops, so it is no scheduler")
        check_settings(request.variant.settings, types.settings(), file.name)
        known = {**_UNKNOWN, **_layouts(types), "counters_map": COUNTERS_MAP}
        return BuiltObject(
            **known,
            path=target,
            sha256=_sha256(target),
            tasks_map=request.map_name,
            settings=request.variant.settings,
        )

    def _compile_own(self, request: BuildRequest, file: Path, target: Path) -> None:
        """Compile a user's source; its headers are those of `include` alone."""
        generated.check(file)
        variant = request.variant
        ops_name = f"{_ops_name(file.name.removesuffix('.bpf.c'))}_{variant.name}"
        # Warnings are the user's own affair
        flags = [f'-DOPS_NAME="{ops_name}"', "-Wno-error"]
        if "treatment" in variant.knobs:
            flags.append(f"-DTREATMENT={variant.knobs['treatment']}")
        sources = {f"user/{file.name}": file}
        for number, directory in enumerate(request.include):
            sources[f"include{number}"] = directory.resolve()
            flags.append(f"-I/lab/include{number}")
        self._compiler.bpf(f"user/{file.name}", target, flags, sources)

    def _has_helper(self) -> bool:
        return _HELPER in self._vmlinux_h()

    def _vmlinux_h(self) -> str:
        return (self._kernel.folder / "vmlinux.h").read_text()

    def module(self) -> None:
        """Build the kfunc module for this kernel into BIN.

        Nothing is built where the kernel's headers are missing.

        Runs that need it are then skipped, with the reason.
        """
        target = paths.BIN / MODULE
        stamp = _stamp(target)
        key = self._key([], _MODULE_SOURCE)
        if self._has_helper() or (_read(stamp, key) and target.exists()):
            return
        target.unlink(missing_ok=True)
        stamp.unlink(missing_ok=True)
        if (root := self._with_headers()) is None:
            return
        self._compiler.module(root, _MODULE_SOURCE, self._kernel.version, target)
        atomic_write(stamp, json.dumps({"key": key}))

    def _with_headers(self) -> Path | None:
        """Return the root with the kernel's headers and the compiler for them."""
        headers = f"lib/modules/{self._kernel.version}/build"
        if os.path.lexists(self._root.path / headers):
            return self._root.path
        if not self._kernel.is_running or not (Path("/") / headers).exists():
            return None
        return lab_root.machine() if all(map(shutil.which, ("make", "gcc"))) else None

    def tools(self) -> Path:
        """Build all that runs beside the schedulers; return its directory."""
        sources = [p for pattern in _TOOLS for p in paths.PROJECT.glob(pattern)]
        targets = {
            paths.BIN / _helper_name(source): source for source in sorted(sources)
        }
        for target, source in targets.items():
            self._tool(target, source)
        # What is there is a fact of every experiment, and may have lost its source
        for path in list(paths.BIN.iterdir()):
            if _stamp(path).exists() and path not in targets and path.name != MODULE:
                path.unlink()
                _stamp(path).unlink()
        return paths.BIN

    def _tool(self, target: Path, source: Path) -> None:
        is_bpf = source.name.endswith(".bpf.c")
        key = self._key([] if is_bpf else _C_FLAGS, source)
        stamp = _stamp(target)
        if _read(stamp, key) is not None and target.exists():
            return
        stamp.unlink(missing_ok=True)
        if is_bpf:
            self.bpf_object(source, target, [])
        else:
            self._compiler.program(source, target, _C_FLAGS)
        atomic_write(stamp, json.dumps({"key": key}))

    def bpf_object(
        self,
        source: Path,
        target: Path,
        flags: Sequence[str],
        headers: Path | None = None,
    ) -> None:
        """Compile a source of this project, which sees all of its schedulers.

        And `headers`, of which `flags` say that they are in /lab/headers.
        """
        name = f"src/{source.relative_to(paths.PROJECT)}"
        seen = {name: source, "src/schedulers": paths.SCHEDULERS}
        if headers is not None:
            seen["headers"] = headers
        self._compiler.bpf(name, target, flags, seen)

    def _key(self, defines: Sequence[str], sources: Path) -> str:
        files = [sources] if sources.is_file() else sorted(sources.rglob("*.[ch]"))
        hashes = [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]
        settings = [list(defines), list(BPF_FLAGS)]
        return digest([settings, hashes, self._kernel.sha256, self._root.key])


def _layouts(types: ObjectTypes) -> dict[str, Any]:
    return {
        "counters": types.layout(_COUNTERS_STRUCT),
        "record": types.layout(_RECORD_STRUCT),
    }


#: Of a user's scheduler, as far as its file does not tell.
_UNKNOWN: Mapping[str, Any] = {
    "ops_name": "",
    "cleanup": OWN,
    "counters_map": "",
    "counters": {},
    "record": {},
}


def _program(request: BuildRequest) -> BuiltObject:
    """Return a program that loads the scheduler itself."""
    command = shlex.split(request.command)
    path = Path(command[0])
    path = path.resolve() if path.is_file() else path
    return BuiltObject(
        **_UNKNOWN,
        path=path,
        sha256=_sha256(path) if path.is_file() else "",
        tasks_map=request.map_name,
        loader="program",
        arguments=tuple(command[1:]),
    )


def _ops_name(name: str) -> str:
    """Return what the kernel takes as the name of a scheduler (bpf_obj_name_cpy)."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)[:100]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _helper_name(source: Path) -> str:
    """Return the name of what a source becomes: x.bpf.o of x.bpf.c, y of y.c."""
    is_bpf = source.name.endswith(".bpf.c")
    return f"{source.stem}.o" if is_bpf else source.stem


def _stamp(target: Path) -> Path:
    return target.with_name(f".{target.name}.json")


def _read(stamp: Path, key: str) -> Mapping[str, Any] | None:
    """Return what was noted of a build, if it was of this very key."""
    try:
        said = json.loads(stamp.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return said if said.get("key") == key else None
