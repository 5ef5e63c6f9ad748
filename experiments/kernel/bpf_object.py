# SPDX-License-Identifier: GPL-2.0-only
"""A BPF object file, and what it becomes in the kernel: open, set, load, attach, close.

Nothing is pinned. Programs, maps, their timers and the links live on descriptors of
this process alone, which are closed on exec: they go with it, however it ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Mapping
from ctypes import byref, c_size_t
from pathlib import Path
from typing import Any

from experiments.errors import LoadError
from experiments.kernel import libbpf
from experiments.kernel.btf import Btf, Place
from experiments.kernel.integers import READ_ONLY, Integer

_STRUCT_OPS_MAP = 26  # BPF_MAP_TYPE_STRUCT_OPS
#: Attached by a link, and detached with it; else it stays until somebody removes it.
_F_LINK = 1 << 13
#: Enough for the end of a refusal: since Linux 6.4 the kernel drops the beginning of
#: what does not fit.
_LOG_BYTES = 1 << 20
#: Sections that a program can write to.
_WRITABLE = (".data", ".bss")


class BpfObject:
    """One object file. Raises LoadError with the words of libbpf and the verifier."""

    def __init__(self, path: Path) -> None:
        self._lib = lib = libbpf.open_library()
        self._path = path
        self._log = ctypes.create_string_buffer(_LOG_BYTES)
        self._links: list[int] = []
        self._object: int | None = None
        libbpf.printed.clear()
        options = libbpf.OpenOptions(
            sz=ctypes.sizeof(libbpf.OpenOptions),
            kernel_log_buf=ctypes.addressof(self._log),
            kernel_log_size=len(self._log),
        )
        try:
            self._object = lib.bpf_object__open_file(os.fsencode(path), byref(options))
            self._maps = {lib.bpf_map__name(m).decode(): m for m in self._each_map()}
            self._btf = Btf(lib, lib.bpf_object__btf(self._object))
            self._variables = self._read_variables()
        except OSError as error:
            self.close()
            said = "\n".join(libbpf.printed)
            raise LoadError(f"{path.name} does not open: {error}\n{said}") from None

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def words(self) -> tuple[str, str]:
        """Return what libbpf has said, and what the verifier said last."""
        return "\n".join(libbpf.printed), self._log.value.decode(errors="replace")

    def _each_map(self) -> Iterator[int]:
        current = None
        while current := self._lib.bpf_object__next_map(self._object, current):
            yield current

    def _sections(self) -> dict[str, int]:
        """Return the maps that are sections of variables, by the names of these.

        Such a map is called OBJECT.rodata, or .data.x like its section.
        """
        pairs = ((name.partition("."), handle) for name, handle in self._maps.items())
        return {f".{rest}": handle for (_, dot, rest), handle in pairs if dot}

    def _read_variables(self) -> dict[str, tuple[str, Place]]:
        return {
            name: (section, place)
            for section in self._sections()
            for name, place in self._btf.variables(section).items()
        }

    # --- before loading ---------------------------------------------------------------

    def settings(self) -> dict[str, Integer]:
        """Return the numbers in read-only data; they can be set until loading."""
        return {
            name: place.integer
            for name, (section, place) in self._variables.items()
            if section.startswith(READ_ONLY) and place.integer is not None
        }

    def setting(self, name: str) -> int:
        return self.settings()[name].from_bytes(self._initial(name)[:])

    def put(self, name: str, value: int) -> None:
        self._initial(name)[:] = self.settings()[name].to_bytes(value)

    def _initial(self, name: str) -> Any:
        """Return the bytes that a variable begins with."""
        section, place = self._variables[name]
        return self._bytes_of(self._sections()[section], place)

    def _bytes_of(self, handle: int, place: Place) -> Any:
        size = c_size_t()
        address = self._lib.bpf_map__initial_value(handle, byref(size))
        if not address or place.offset + place.size > size.value:
            raise LoadError(f"{self._path.name} is shorter than its BTF says")
        return (ctypes.c_char * place.size).from_address(address + place.offset)

    def struct_ops(self) -> list[str]:
        """Return the names of what is to be attached."""
        kinds = {name: self._lib.bpf_map__type(m) for name, m in self._maps.items()}
        return [name for name, kind in kinds.items() if kind == _STRUCT_OPS_MAP]

    def struct_ops_number(self, member: str) -> int | None:
        """Return a number that a struct_ops begins with; None if there is none."""
        for section in (".struct_ops.link", ".struct_ops"):
            for name, struct in self._btf.variables(section).items():
                place = self._btf.members(struct.type_id).get(member)
                if place and place.integer and name in self._maps:
                    raw = self._bytes_of(self._maps[name], place)[:]
                    return place.integer.from_bytes(raw)
        return None

    # --- loaded -----------------------------------------------------------------------

    def load(self) -> None:
        """Put programs and maps into the kernel."""
        lib = self._lib
        for handle in self._maps.values():
            lib.bpf_map__set_pin_path(handle, None)  # whatever the object asks for
        for name in self.struct_ops():
            flags = lib.bpf_map__map_flags(self._maps[name]) | _F_LINK
            lib.bpf_map__set_map_flags(self._maps[name], flags)
        try:
            lib.bpf_object__load(self._object)
        except OSError as error:
            raise LoadError(str(error)) from None

    def attach(self) -> None:
        """Attach every struct_ops; the kernel has taken it when this returns."""
        for name in self.struct_ops():
            try:
                link = self._lib.bpf_map__attach_struct_ops(self._maps[name])
            except OSError as error:
                raise LoadError(str(error)) from None
            self._links.append(link)

    def map_fds(self) -> dict[str, int]:
        """Return descriptors of the maps but the struct_ops; they stay the object's."""
        others = self._maps.keys() - set(self.struct_ops())
        fds = {name: self._lib.bpf_map__fd(self._maps[name]) for name in sorted(others)}
        return {name: fd for name, fd in fds.items() if fd >= 0}

    def struct_with(self, members: set[str]) -> Variable | None:
        """Return the first writable struct that has these members, to be read.

        None before loading, and where there is none or the kernel does not show it.
        """
        for name, (section, place) in self._variables.items():
            found = self._btf.members(place.type_id)
            if section.startswith(_WRITABLE) and members <= found.keys():
                fd = self._lib.bpf_map__fd(self._sections()[section])
                return Variable(name, fd, place, found) if fd >= 0 else None
        return None

    def detach(self) -> None:
        while self._links:
            self._lib.bpf_link__destroy(self._links.pop())

    def close(self) -> None:
        self.detach()
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None


class Variable:
    """A struct in the kernel's own memory, as a program left it."""

    def __init__(
        self, name: str, fd: int, place: Place, members: Mapping[str, Place]
    ) -> None:
        self.name = name
        self._place, self._members = place, members
        end = place.offset + place.size
        self._memory = mmap.mmap(fd, end, mmap.MAP_SHARED, mmap.PROT_READ)

    def raw(self, member: str) -> bytes:
        place = self._members[member]
        begin = self._place.offset + place.offset
        return self._memory[begin : begin + place.size]

    def number(self, member: str) -> int:
        integer = self._members[member].integer
        return integer.from_bytes(self.raw(member)) if integer else 0

    def text(self, member: str) -> str:
        return self.raw(member).split(b"\0", 1)[0].decode(errors="replace")

    def close(self) -> None:
        self._memory.close()
