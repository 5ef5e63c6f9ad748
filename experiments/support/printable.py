# SPDX-License-Identifier: GPL-2.0-only
"""Text of others, made fit for a terminal, a log and a report."""

from __future__ import annotations

import re

#: Control characters but for tab and newline, marks that turn the direction of text
#: around, and halves of characters, which no encoding takes.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return the text with everything that a terminal would obey written out."""
    return _UNFIT.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def shortened(text: str, most: int) -> str:
    """Return at most so many characters, the last ones where something is left out."""
    return text if len(text) <= most else f"... {text[-(most - 4) :]}"
