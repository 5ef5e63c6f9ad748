# SPDX-License-Identifier: GPL-2.0-only
"""What a verdict can be. Undecided is never a pass."""

from __future__ import annotations

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

#: A status, and the sentence that gives its reasons.
Judgement = tuple[str, str]
