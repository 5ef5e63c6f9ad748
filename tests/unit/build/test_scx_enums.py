# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.build import scx_enums

VMLINUX_H = """
enum scx_public_consts {
\tSCX_OPS_NAME_LEN = 128ULL,
\tSCX_SLICE_INF = 18446744073709551615ULL,
};

enum other {
\tNOT_SCX_AT_ALL = 7,
\tSCX_BELOW_ZERO = -1,
};
"""


def test_constants_are_the_enumerators_of_sched_ext_in_64_bits() -> None:
    assert scx_enums.constants(VMLINUX_H) == {
        "SCX_OPS_NAME_LEN": 128,
        "SCX_SLICE_INF": (1 << 64) - 1,
        "SCX_BELOW_ZERO": (1 << 64) - 1,
    }


@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_no_object_and_no_crash(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, is_elf: bool
) -> None:
    path = tmp_path_factory.mktemp("o") / "x.bpf.o"
    path.write_bytes((b"\x7fELF\x02\x01\x01" if is_elf else b"") + data)
    with pytest.raises(scx_enums.NoObject):
        scx_enums.variables(path)
