# SPDX-License-Identifier: GPL-2.0-only
"""Sources in which a program writes a block, between two lines that a person wrote:

    /* EVOLVE-BLOCK-START */
    ...
    /* EVOLVE-BLOCK-END */

The names are those that evolution engines look for (OpenEvolve, ShinkaEvolve). The rest
of the source is trusted, so a block must stay what it is: statements or functions of C.
It cannot speak to the preprocessor, the assembler or the linker, nor end or begin
anything that is outside of it.
"""

from __future__ import annotations

import re
from pathlib import Path

from experiments.errors import ConfigError

_START, _END = "EVOLVE-BLOCK-START", "EVOLVE-BLOCK-END"
_MARKER = re.compile(rf"^.*\b({_START}|{_END})\b.*$", re.MULTILINE)

#: Joins two lines before anything else is looked at, also in a comment and a text.
_SPLICE = re.compile(r"(?:\\|\?\?/)[^\S\n]*\n")
#: Lexical elements of C that matter here (C17 6.4, digraphs 6.4.6).
_TOKEN = re.compile(
    r"""
    (?P<trigraph>\?\?[=/'()!<>-])
  | (?P<comment>/\*.*?\*/ | //[^\n]*)
  | (?P<unclosed>/\*)
  | (?P<string>"(?:\\[^\n]|[^"\\\n])*" | '(?:\\[^\n]|[^'\\\n])*')
  | (?P<open>["'])
  | (?P<digraph>%:|<:|:>|<%|%>)
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\.?\d[\w.]*)
  | (?P<bracket>[][(){}])
  | (?P<hash>\#)
  | (?P<backslash>\\)
    """,
    re.VERBOSE | re.DOTALL,
)
_REFUSED = {
    "trigraph": "a trigraph",
    "unclosed": "a comment that does not end in it",
    "open": "a text that does not end in its line",
    "digraph": "a digraph",
    "hash": "a #",
    "backslash": "a backslash",
}
#: What reaches past the language, by itself or as a macro of the BPF headers.
_WORDS = frozenset(
    (
        *("asm", "__asm", "__asm__", "_Pragma", "__pragma", "SEC", "__ksym"),
        *("__attribute", "__attribute__", "__declspec", "__kconfig", "__arena"),
        *("__has_include", "__has_embed", "__FILE__", "__BASE_FILE__"),
    )
)
_PAIRS = {"}": "{", ")": "(", "]": "["}


def has_block(path: Path) -> bool:
    """Return whether a program writes a part of this source."""
    if not path.name.endswith(".bpf.c"):
        return False
    return _START in path.read_text(errors="replace")


def check(path: Path) -> None:
    """Raise ConfigError naming the line and what it must not hold."""
    text = path.read_text(errors="replace")
    begun: re.Match[str] | None = None
    for marker in _MARKER.finditer(text):
        is_start = marker[1] == _START
        if is_start == (begun is not None):
            raise ConfigError(f"{_at(path, text, marker.start())}: {marker[1]} twice")
        if begun is not None:
            _check_block(path, text, begun.end(), marker.start())
        begun = marker if is_start else None
    if begun is not None:
        raise ConfigError(f"{_at(path, text, begun.start())}: there is no {_END}")


def _check_block(path: Path, text: str, start: int, end: int) -> None:
    if splice := _SPLICE.search(text, start, end):
        where = _at(path, text, splice.start())
        raise ConfigError(f"{where}: a line that goes on in the next, in a block")
    opened: list[str] = []
    previous = ""
    for token in _TOKEN.finditer(text, start, end):
        where = _at(path, text, token.start())
        kind, word = str(token.lastgroup), token[0]
        if kind in _REFUSED:
            raise ConfigError(f"{where}: {_REFUSED[kind]} in a generated block")
        if kind == "word" and word in _WORDS:
            raise ConfigError(f"{where}: {word} in a generated block")
        if kind == "bracket" and word not in _PAIRS:
            opened.append(word)
        elif kind == "bracket" and (not opened or opened.pop() != _PAIRS[word]):
            raise ConfigError(f"{where}: {word} closes what was opened elsewhere")
        if word == previous == "[":
            raise ConfigError(f"{where}: an attribute in a generated block")
        if kind != "comment":
            previous = word
    if opened:
        raise ConfigError(
            f"{_at(path, text, end)}: {opened[-1]} is not closed in the block"
        )


def _at(path: Path, text: str, position: int) -> str:
    return f"{path.name}:{text.count(chr(10), 0, position) + 1}"
