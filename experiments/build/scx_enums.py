# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's sched_ext constants, filled into objects that leave them open.

Upstream's <scx/common.bpf.h> reads SCX_SLICE_DFL, SCX_DSQ_LOCAL and their like from
variables `__SCX_*` in .rodata, for its own loaders to set from the BTF of the kernel
that runs (tools/sched_ext/include/scx/enums.h, Linux 6.14). bpftool sets nothing, and
with zeros such a scheduler loads and does not schedule. So they are set in the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_ENUMERATOR = re.compile(r"^\t(SCX_\w+) = (-?\d+)", re.MULTILINE)
_PREFIX = "__"
_SECTION = ".rodata"
_U64 = struct.Struct("<Q")


def constants(vmlinux_h: str) -> dict[str, int]:
    """Return the kernel's enumerators that begin with SCX_, as unsigned 64 bits."""
    found = _ENUMERATOR.findall(vmlinux_h)
    return {name: int(value) % (1 << 64) for name, value in found}


def fill(path: Path, values: Mapping[str, int]) -> list[str]:
    """Set the variables of the object that are still 0; returns what it set.

    What this kernel does not have stays 0, as with upstream's loaders.
    """
    places = {
        name: offset for name, offset in variables(path).items() if values.get(name)
    }
    raw = bytearray(path.read_bytes())
    unset = [n for n, at in places.items() if not any(raw[at : at + _U64.size])]
    for name in unset:
        _U64.pack_into(raw, places[name], values[name])
    if unset:
        path.write_bytes(raw)
    return unset


class NoObject(Exception):
    """A file is not what an object file of BPF is; says why."""


def variables(path: Path) -> dict[str, int]:
    """Return names of the variables `__SCX_*` and where in the file their value is.

    Raises NoObject for what is not an ELF file of BPF, or a damaged one: whatever
    bytes there are, they may make the reader fail in any way.
    """
    try:
        return _variables(path)
    except NoObject:
        raise
    except Exception as error:
        raise NoObject(f"{type(error).__name__}: {error}".rstrip(": ")) from None


def _variables(path: Path) -> dict[str, int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        elf = ELFFile(file)
        if elf["e_machine"] != "EM_BPF":
            raise NoObject(f"it is for {elf['e_machine']}")
        symbols = elf.get_section_by_name(".symtab")
        if not isinstance(symbols, SymbolTableSection):
            return {}
        found = {}
        for symbol in symbols.iter_symbols():
            index = symbol["st_shndx"]
            if not symbol.name.startswith(f"{_PREFIX}SCX_") or isinstance(index, str):
                continue
            section = elf.get_section(index)
            if section.name == _SECTION and symbol["st_size"] == _U64.size:
                name = symbol.name.removeprefix(_PREFIX)
                found[name] = section["sh_offset"] + symbol["st_value"]
                if found[name] + _U64.size > size:
                    raise NoObject(f"{symbol.name} lies beyond its end")
        return found
