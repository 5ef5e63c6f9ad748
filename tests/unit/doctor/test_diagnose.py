# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from experiments.doctor.diagnose import explain


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (
            "libbpf: extern (func ksym) 'scx_bpf_create_dsq': func_proto [12] "
            "incompatible with vmlinux [99]",
            "other arguments",
        ),
        (
            "kfunc 'scx_bpf_map_scan_timeout' is referenced but wasn't resolved",
            "not in this kernel",
        ),
        ("R1 invalid mem access 'map_value_or_null'", "without a check"),
        ('"x" disabled (runnable task stall); y failed to run for 2s', "the watchdog"),
        ("x: RCU CPU stall detected!", "starved"),
        ("mine.bpf.c:2:9: error: expected expression", "the compiler"),
        ("something never seen", ""),
    ],
)
def test_known_failures_are_explained(words: str, meaning: str) -> None:
    explained = explain(words)
    assert meaning in explained
    assert bool(meaning) == bool(explained)
