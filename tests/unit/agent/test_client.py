# SPDX-License-Identifier: GPL-2.0-only
"""What comes over the line to an agent, and what does not."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from experiments.agent.client import Line
from experiments.agent.protocol import VERSION, Event, event_line
from experiments.errors import BackendLost, HelperLost


class End:
    """The agent's end of the line."""

    def __init__(self, needed: int | None = None) -> None:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        self.jobs = os.fdopen(read_in, "rb")
        self.events = os.fdopen(write_out, "wb", buffering=0)
        process = SimpleNamespace(
            stdin=os.fdopen(write_in, "wb"), stdout=os.fdopen(read_out, "rb")
        )
        needs = {} if needed is None else {"file server": SimpleNamespace(pid=needed)}
        self.line = Line(
            cast("subprocess.Popen[bytes]", process),
            "agent",
            lambda who: f"{who} got SIGKILL",
            cast("dict[str, subprocess.Popen[bytes]]", needs),
        )

    def close(self) -> None:
        self.line.close()
        for stream in (self.jobs, self.events):
            stream.close()


@pytest.fixture
def end() -> Iterator[End]:
    end = End()
    yield end
    end.close()


def test_hello_has_the_facts_of_the_kernel(end: End) -> None:
    end.events.write(event_line(Event.HELLO, protocol=VERSION, facts={"cpus": 2}))
    assert end.line.hello(5) == {"cpus": 2}


def test_an_agent_of_another_version_is_no_agent(end: End) -> None:
    end.events.write(event_line(Event.HELLO, protocol=VERSION + 1, facts={}))
    with pytest.raises(BackendLost, match=f"protocol {VERSION + 1}, not {VERSION}"):
        end.line.hello(5)


def test_events_come_whole_and_noise_is_skipped(end: End) -> None:
    end.events.write(b'SeaBIOS\n7\n{"no": "event"}\n{"event": "tick", "te')
    end.events.write(b'xt": "1 s"}\n{"event": "done"}\n{"event": "next"}\n')
    heard = [*end.line.serve("/x/job.json", 5)]
    assert heard == [{"event": "tick", "text": "1 s"}, {"event": "done"}]
    assert end.jobs.readline() == b"run /x/job.json\n"
    assert end.line.event(5) == {"event": "next"}


def test_silence_has_an_end(end: End) -> None:
    with pytest.raises(BackendLost, match="the agent went silent: agent got SIGKILL"):
        [*end.line.serve("/x", 0.05)]


def test_a_dead_agent_is_told_in_its_last_words(end: End) -> None:
    end.events.write(b'{"event": "ti')
    end.events.close()
    with pytest.raises(BackendLost, match="the agent died: agent got SIGKILL"):
        end.line.event(5)
    end.jobs.close()
    with pytest.raises(BackendLost, match="died"):
        [*end.line.serve("/x", 5)]


def test_without_what_it_needs_the_line_is_dead_at_once() -> None:
    """Long before the silence would tell; what was said before is still heard."""
    pid = os.fork()
    if pid == 0:
        os.read(os.pipe()[0], 1)  # until it is killed
        os._exit(0)
    end = End(needed=pid)
    end.events.write(b'{"event": "tick"}\n')
    assert end.line.event(5) == {"event": "tick"}
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(
        HelperLost, match="lost its file server, which ended: file server got"
    ):
        end.line.event(60)
    assert time.monotonic() - began < 30
    os.waitpid(pid, 0)
    end.close()


def test_what_it_needs_may_die_of_its_death() -> None:
    """And be seen before it: the dead one's words are the reason."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    end = End(needed=pid)
    threading.Timer(0.2, end.events.close).start()
    with pytest.raises(BackendLost, match="the agent died: agent got SIGKILL"):
        end.line.event(60)
    os.waitpid(pid, 0)
    end.close()


def test_a_crash_is_no_silence(end: End) -> None:
    end.events.write(b'{"event": "crashed", "text": "ZeroDivisionError"}\n')
    with pytest.raises(BackendLost, match="ZeroDivisionError"):
        [*end.line.serve("/x", 5)]
