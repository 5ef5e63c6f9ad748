# SPDX-License-Identifier: GPL-2.0-only
"""The proc connector: an event for every task that is created or exits.

The constants are those of pyroute2, which takes seconds to import in a guest. Its
parser takes about 70 us an event, and a storm of forks has thousands of them a second,
so the few fields that are needed are read here (include/uapi/linux/cn_proc.h, unchanged
since Linux 2.6.15 as far as they go).
"""

from __future__ import annotations

import enum
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

NETLINK_CONNECTOR = 11
NLMSG_DONE = 3
CN_IDX_PROC = CN_VAL_PROC = 1
PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE = 1, 2
PROC_EVENT_NONE, PROC_EVENT_FORK, PROC_EVENT_EXIT = 0, 1, 0x80000000

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, seq, pid
_CN_MSG = struct.Struct("=IIIIHH")  # idx, val, seq, ack, len, flags
_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp_ns
_EVENT_AT = _NLMSGHDR.size + _CN_MSG.size
_SEQ_AT = _NLMSGHDR.size + 8
_BUFFER_BYTES = 8 << 20
_MESSAGE_BYTES = 4096


class Kind(enum.Enum):
    FORK = "fork"
    EXIT = "exit"
    OTHER = "other"  # exec, a change of ids or of the name


@dataclass(frozen=True)
class ProcEvent:
    """What happened to a task (a process or a thread)."""

    kind: Kind
    pid: int  # of the task that was created or exits; 0 for other kinds
    cpu: int
    seq: int  # of the events of this CPU
    time_ns: int  # CLOCK_MONOTONIC


def parse(message: bytes) -> ProcEvent | None:
    """Return the event of one message; None for the answer to a request of our own."""
    what, cpu, time_ns = _EVENT.unpack_from(message, _EVENT_AT)
    if what == PROC_EVENT_NONE:
        return None
    (seq,) = struct.unpack_from("=I", message, _SEQ_AT)
    kind, place = _KINDS.get(what, (Kind.OTHER, None))
    pid = 0 if place is None else struct.unpack_from("=I", message, place)[0]
    return ProcEvent(kind, pid, cpu, seq, time_ns)


#: what -> its kind, and where the pid stands in the message
_KINDS = {
    PROC_EVENT_FORK: (Kind.FORK, _EVENT_AT + _EVENT.size + 8),  # after the parent's ids
    PROC_EVENT_EXIT: (Kind.EXIT, _EVENT_AT + _EVENT.size),
}


class ProcConnector:
    """Listens from the start; raises OSError where the kernel has no connector."""

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_CONNECTOR)
        try:
            # SO_RCVBUFFORCE, which Python does not name: not bounded by rmem_max
            self._socket.setsockopt(socket.SOL_SOCKET, 33, _BUFFER_BYTES)
            self._socket.bind((0, CN_IDX_PROC))
            self._control(PROC_CN_MCAST_LISTEN)
        except OSError:
            self._socket.close()
            raise
        self.overflows = 0

    def _control(self, operation: int) -> None:
        body = _CN_MSG.pack(CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, 0)
        body += struct.pack("=I", operation)
        length = _NLMSGHDR.size + len(body)
        header = _NLMSGHDR.pack(length, NLMSG_DONE, 0, 0, os.getpid())
        self._socket.send(header + body)

    def messages(self) -> Iterator[bytes]:
        """Yield what has come since the last call, raw.

        When the buffer overflowed, the kernel says so once, whatever was lost.
        """
        while True:
            try:
                yield self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overflows += 1

    def close(self) -> None:
        with self._socket:
            self._control(PROC_CN_MCAST_IGNORE)
