# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

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
