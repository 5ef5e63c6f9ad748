# SPDX-License-Identifier: GPL-2.0-only
"""Sources of schedulers that want more of the machine than to be compiled."""

from __future__ import annotations

from collections.abc import Mapping

_SOURCE = """\
#include <scx.bpf.h>
char _license[] SEC("license") = "GPL";
{what}
"""
_INCBIN = 'asm(".section x\\n.incbin \\"{path}\\"\\n.previous");'
_BLOCK = "/* EVOLVE-BLOCK-START */\n{what}\n/* EVOLVE-BLOCK-END */"

_BUSY = {
    "include_itself": '#include "/lab/user/attack.bpf.c"',
    "macros_without_end": (
        "#define A(x) x x x x x x x x x x\n"
        "#define B(x) A(A(A(A(A(A(A(x)))))))\nint y = B(B(B(1+)))1;"
    ),
    "fill_the_disk": 'asm(".fill 4000000000, 1, 0");',
    "assembler_for_ever": 'asm(".macro m\\nm\\n.endm\\nm");',
    "crash_the_compiler": "#pragma clang __debug crash",
    "warnings_without_end": (
        '#define W _Pragma("GCC warning \\"x\\"")\n'
        "#define A(x) x x x x x x x x x x\nA(A(A(A(A(A(W))))))\nnot_c"
    ),
    "words_for_a_terminal": '#error "\x1b]0;owned\x07\x1b[2J"',
    "no_source_at_all": "\0\x01\x02" * 1000,
}
_BLOCKS = {
    "asm_in_a_generated_block": _INCBIN.format(path="/etc/passwd"),
    "splice_in_a_generated_block": "// \\\n#include </etc/passwd>",
    "digraph_in_a_generated_block": '%:include "/etc/passwd"',
    "generated_block_that_ends_early": "} void g(void) {",
}


def sources(secrets: Mapping[str, str], scheduler: str) -> dict[str, str]:
    """Return sources by the name of the attack.

    `secrets` are paths of the machine by the name of an attack on them. What only takes
    in a file and is a `scheduler` besides, the compiler may find nothing wrong with.
    """
    found = dict(_BUSY)
    for name, path in secrets.items():
        found[f"include_{name}"] = f'#include "{path}"'
    found |= {name: _BLOCK.replace("{what}", what) for name, what in _BLOCKS.items()}
    found = {name: _SOURCE.replace("{what}", what) for name, what in found.items()}
    for name, path in secrets.items():
        found[f"incbin_{name}"] = f"{scheduler}\n{_INCBIN.format(path=path)}\n"
    return found
