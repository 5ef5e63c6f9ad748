# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's clock: what it counts by, and whether somebody keeps it right."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
#: More than sizeof(struct timex); `modes`, its first member, stays 0: change nothing
_TIMEX_BYTES = 512
#: What adjtimex(2) returns while no one has set the clock (include/uapi/linux/timex.h)
_TIME_ERROR = 5

_libc = ctypes.CDLL(None, use_errno=True)


def source() -> str:
    """Return tsc, kvm-clock, hpet, ...; empty where the kernel does not say."""
    try:
        return _CLOCKSOURCE.read_text().strip()
    except FileNotFoundError:
        return ""


def is_synchronised() -> bool:
    """Return whether an NTP daemon or the like has set the clock.

    OSError as adjtimex(2).
    """
    state = int(_libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return state != _TIME_ERROR
