# SPDX-License-Identifier: GPL-2.0-only
"""libbpf by ctypes: the functions that loading an object takes, and their errors.

Prototypes are those of bpf/libbpf.h and bpf/btf.h. A NULL or a negative result becomes
an OSError; what libbpf prints is kept in `printed`, as its reasons are nowhere else.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import os
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

NAME = "libbpf.so.1"
#: The first that links a struct_ops map, so that it goes with its descriptor.
OLDEST = (1, 2)
REMEDY = "apt-get install libbpf1"

#: The last lines that libbpf has printed.
printed: collections.deque[str] = collections.deque(maxlen=200)

#: Name: result, arguments. Pointers are opaque: c_void_p keeps them whole, where
#: ctypes' default of int would cut them to 32 bits.
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "bpf_object__open_file": (c_void_p, c_char_p, c_void_p),
    "bpf_object__load": (c_int, c_void_p),
    "bpf_object__close": (None, c_void_p),
    "bpf_object__btf": (c_void_p, c_void_p),
    "bpf_object__next_map": (c_void_p, c_void_p, c_void_p),
    "bpf_map__name": (c_char_p, c_void_p),
    "bpf_map__type": (c_int, c_void_p),
    "bpf_map__fd": (c_int, c_void_p),
    "bpf_map__initial_value": (c_void_p, c_void_p, POINTER(c_size_t)),
    "bpf_map__map_flags": (c_uint32, c_void_p),
    "bpf_map__set_map_flags": (c_int, c_void_p, c_uint32),
    "bpf_map__set_pin_path": (c_int, c_void_p, c_char_p),
    "bpf_map__attach_struct_ops": (c_void_p, c_void_p),
    "bpf_link__destroy": (c_int, c_void_p),
    "btf__find_by_name_kind": (c_int, c_void_p, c_char_p, c_uint32),
    "btf__type_by_id": (c_void_p, c_void_p, c_uint32),
    "btf__name_by_offset": (c_char_p, c_void_p, c_uint32),
    "btf__resolve_size": (c_int64, c_void_p, c_uint32),
    "btf__load_vmlinux_btf": (c_void_p,),
    "btf__free": (None, c_void_p),
    "libbpf_num_possible_cpus": (c_int,),
}
#: A NULL or a negative number of these is an answer: the end of a list, nothing there.
_MAY_SAY_NONE = ("bpf_object__next_map", "bpf_map__initial_value", "bpf_map__fd")

_WARN_AND_INFO = 2  # beyond it is LIBBPF_DEBUG, a line a relocation
_LINE_BYTES = 4096
_OWN_ERRORS = 4000  # of libbpf, not of the kernel: __LIBBPF_ERRNO__START

# The last argument is a va_list, which x86-64 and arm64 hand over as a pointer
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_libc = ctypes.CDLL(None)
_libc.vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)


def _keep(level: int, template: bytes, arguments: int) -> int:
    if level < _WARN_AND_INFO:
        line = ctypes.create_string_buffer(_LINE_BYTES)
        _libc.vsnprintf(line, len(line), template, arguments)
        printed.append(line.value.decode(errors="replace").rstrip())
    return 0


_printer = _PRINT(_keep)  # for as long as libbpf may call it


def _error(code: int, function: Any) -> OSError:
    why = os.strerror(code) if code < _OWN_ERRORS else f"libbpf's error {code}"
    return OSError(code, f"{function.__name__}: {why}")


def _checked_number(result: int, function: Any, arguments: object) -> int:
    if result < 0:
        raise _error(-result, function)
    return result


def _checked_pointer(result: int | None, function: Any, arguments: object) -> int:
    if not result:
        raise _error(ctypes.get_errno(), function)
    return result


def _declare(
    function: Any, symbol: str, result: Any, arguments: tuple[Any, ...]
) -> None:
    function.restype, function.argtypes = result, arguments
    if symbol in _MAY_SAY_NONE:
        return
    if result in (c_int, c_int64):
        function.errcheck = _checked_number
    elif result is c_void_p:
        function.errcheck = _checked_pointer


def version(library: Any) -> tuple[int, int]:
    return int(library.libbpf_major_version()), int(library.libbpf_minor_version())


@functools.cache
def open_library() -> Any:
    """Return libbpf with the functions above declared.

    Raises OSError when there is none, or one that is too old.
    """
    library = ctypes.CDLL(NAME, use_errno=True)
    if (found := version(library)) < OLDEST:
        has, needed = (".".join(map(str, v)) for v in (found, OLDEST))
        raise OSError(f"{NAME} is {has}, and {needed} is needed")
    for symbol, (result, *arguments) in _FUNCTIONS.items():
        _declare(getattr(library, symbol), symbol, result, tuple(arguments))
    library.libbpf_set_print.argtypes = (_PRINT,)
    library.libbpf_set_print.restype = c_void_p
    library.libbpf_set_print(_printer)
    return library


class OpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts, as far as `sz` says that it is given."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", c_char_p),
        ("_unused", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )
