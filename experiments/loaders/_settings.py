# SPDX-License-Identifier: GPL-2.0-only
"""Read-only data of a scheduler: what the user asks for, and what the kernel says.

Upstream's schedulers leave to their loaders the number of CPUs, the default slice and,
since Linux 6.14, the kernel's constants, as weak variables `__SCX_*`
(tools/sched_ext/include/scx/enums.h): with zeros such a scheduler loads and does not
schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.errors import ConfigError, LoadError
from experiments.kernel import libbpf
from experiments.kernel.bpf_object import BpfObject
from experiments.kernel.btf import Btf
from experiments.kernel.integers import check_settings

_CONSTANT = "__SCX_"
_CPUS = ("nr_cpus", "nr_cpu_ids")
_SLICE = "slice_ns"
_DEFAULT_SLICE = "SCX_SLICE_DFL"
#: Of upstream's user_exit_info, of which this loader keeps no dump.
_NOT_ASKED_FOR = "_dump_len"
#: More are not noted as a fact.
_MOST_NOTED = 64
#: Where the kernel declares what begins with SCX_ (Linux 6.12 to 7.3).
_ENUMS = (
    *("scx_public_consts", "scx_consts", "scx_dsq_id_flags", "scx_enq_flags"),
    *("scx_deq_flags", "scx_kick_flags", "scx_ops_flags", "scx_wake_flags"),
    *("scx_exit_kind", "scx_exit_code", "scx_ent_flags", "scx_task_state"),
    *("scx_ent_dsq_flags", "scx_pick_idle_cpu_flags", "scx_cpu_preempt_reason"),
    *("scx_ops_state", "scx_opi", "scx_rq_flags", "scx_tg_flags", "scx_reenq_flags"),
)


def set_all(opened: BpfObject, asked: Mapping[str, int], of: str) -> Mapping[str, Any]:
    """Set what is asked for and what the kernel says; return the facts of it.

    Raises LoadError for a setting that the object does not have, or cannot take.
    """
    known = opened.settings()
    try:
        check_settings(asked, known, of)
    except ConfigError as error:
        raise LoadError(str(error)) from None
    wanted = {**_by_itself(opened), **asked}
    for name in known.keys() & wanted.keys():
        opened.put(name, wanted[name])
    return _facts(opened)


def _by_itself(opened: BpfObject) -> dict[str, int]:
    """Return what upstream's own loaders set, without being asked to."""
    library = libbpf.open_library()
    wanted = dict.fromkeys(_CPUS, int(library.libbpf_num_possible_cpus()))
    known = opened.settings()
    needs_slice = _SLICE in known and not opened.setting(_SLICE)
    if needs_slice or any(name.startswith(_CONSTANT) for name in known):
        constants = _kernel_constants(library)
        wanted |= {f"__{name}": value for name, value in constants.items()}
        if needs_slice:
            wanted[_SLICE] = constants.get(_DEFAULT_SLICE, 0)
    return wanted


def _kernel_constants(library: Any) -> dict[str, int]:
    """Return the constants SCX_* of the kernel that runs."""
    handle = library.btf__load_vmlinux_btf()
    try:
        btf = Btf(library, handle)
        return {n: v for enum in _ENUMS for n, v in btf.enumerators(enum).items()}
    finally:
        library.btf__free(handle)


def _facts(opened: BpfObject) -> Mapping[str, Any]:
    values = {name: opened.setting(name) for name in sorted(opened.settings())}
    constants = {n: v for n, v in values.items() if n.startswith(_CONSTANT)}
    rest = {
        name: value
        for name, value in values.items()
        if name not in constants and not name.endswith(_NOT_ASKED_FOR)
    }
    facts = {
        "settings": dict([*rest.items()][:_MOST_NOTED]),
        "settings_at_0": [n for n, v in rest.items() if not v][:_MOST_NOTED],
        "constants_not_in_kernel": [n for n, v in constants.items() if not v],
    }
    return {name: said for name, said in facts.items() if said}
