# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from experiments.support.printable import printable, shortened

_ANY = st.text(st.characters(codec=None))


@given(_ANY)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    for character in printable(text):
        assert character in "\t\n" or unicodedata.category(character) not in (
            "Cc",
            "Cs",
        )
    printable(text).encode()


def test_text_in_any_language_stays() -> None:
    assert printable("run-queue 待ち ümlaut\n\tµs") == "run-queue 待ち ümlaut\n\tµs"
    assert printable("\x1b[2J\r\x9b1m\u202etxt.exe") == r"\x1b[2J\r\x9b1m\u202etxt.exe"


def test_the_end_is_kept() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("0123456789", 8) == "... 6789"
