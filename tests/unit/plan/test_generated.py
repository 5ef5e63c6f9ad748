# SPDX-License-Identifier: GPL-2.0-only
"""A block that a program wrote stays what it is; what would reach out is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.errors import ConfigError
from experiments.plan import generated

SOURCE = """\
#include <scx.bpf.h>
void f(void) {{
	/* EVOLVE-BLOCK-START */
{block}
	/* EVOLVE-BLOCK-END */
}}
"""


def written(tmp_path: Path, block: str, source: str = SOURCE) -> Path:
    path = tmp_path / "x.bpf.c"
    path.write_text(source.format(block=block))
    return path


@pytest.mark.parametrize(
    "block",
    [
        "",
        "u64 slice = 5 * 1000; // a # in a comment, and asm(",
        "bpf_printk(\"# %s \\\" {\", name); c = '\"'; d = '\\\\';",
        "if (a[b[0]] < 3 && x->y) { return f(a, (u32)b); } /* [[x]] */",
        "x = a ? b : c; y = a % b; z = a<b; static __always_inline int g(void) {}",
        "int masm = 1; attribute = 2; u64 h = 0x1fULL, e = 1.5e3;",
    ],
)
def test_plain_c_is_taken(tmp_path: Path, block: str) -> None:
    path = written(tmp_path, block)
    assert generated.has_block(path)
    generated.check(path)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ('#include "/etc/passwd"', "a #"),
        ("  # define X", "a #"),
        ('%:include "/proc/cmdline"', "digraph"),
        ("int a<:3:>;", "digraph"),
        ("??=include <x>", "trigraph"),
        ('asm(".incbin \\"x\\"");', "asm"),
        ('__asm__ volatile("");', "__asm__"),
        ('int x __attribute__((section("y")));', "__attribute__"),
        ('[[gnu::section("y")]] int x;', "attribute"),
        ("[ [gnu::x] ] int x;", "attribute"),
        ('_Pragma("once")', "_Pragma"),
        ('SEC("struct_ops/x") int y;', "SEC"),
        ("int x; \\\n#include <y>", "goes on in the next"),
        ("// splice \\\n", "goes on in the next"),
        ("a\\u0073m", "backslash"),
        ("/* open", "comment that does not end"),
        ('x = "open', "text that does not end"),
        ("x = 'a", "text that does not end"),
        ("}", "closes what was opened elsewhere"),
        ("} void g(void) {", "closes what was opened elsewhere"),
        ("if (x) {", "not closed"),
        ("f(a]", "closes what was opened elsewhere"),
    ],
)
def test_what_reaches_out_is_refused_with_its_line(
    tmp_path: Path, block: str, words: str
) -> None:
    path = written(tmp_path, f"int before;\n{block}\nint after;")
    with pytest.raises(ConfigError, match=words) as caught:
        generated.check(path)
    line = int(str(caught.value).split(":")[1])
    assert 5 <= line <= 8


def test_blocks_begin_and_end(tmp_path: Path) -> None:
    two = "{block}// EVOLVE-BLOCK-START\n// EVOLVE-BLOCK-START\n"
    with pytest.raises(ConfigError, match="EVOLVE-BLOCK-START twice"):
        generated.check(written(tmp_path, "", two))
    with pytest.raises(ConfigError, match="EVOLVE-BLOCK-END twice"):
        generated.check(written(tmp_path, "", "// EVOLVE-BLOCK-END{block}\n"))
    with pytest.raises(ConfigError, match="there is no EVOLVE-BLOCK-END"):
        generated.check(written(tmp_path, "", "// EVOLVE-BLOCK-START{block}\n"))


def test_the_rest_of_the_source_is_a_persons(tmp_path: Path) -> None:
    path = tmp_path / "plain.bpf.c"
    path.write_text('#define X \\\n 1\nasm("nop");\n')
    assert not generated.has_block(path)
    generated.check(path)
