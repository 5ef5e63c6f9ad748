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

from experiments.agent.client import Line, Patience
from experiments.agent.frames import EVENT, send
from experiments.agent.protocol import VERSION, Event, event_payload
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

    def say(self, event: Event, **values: object) -> None:
        send(self.events.fileno(), EVENT, event_payload(event, **values))

    def send(self, name: str, payload: bytes) -> None:
        send(self.events.fileno(), name, payload)

    def close(self) -> None:
        self.line.close()
        for stream in (self.jobs, self.events):
            stream.close()


PATIENCE = Patience(silence_s=5, job_s=20)


@pytest.fixture
def end() -> Iterator[End]:
    end = End()
    yield end
    end.close()


def test_hello_has_the_facts_of_the_kernel(end: End) -> None:
    end.say(Event.HELLO, protocol=VERSION, facts={"cpus": 2})
    assert end.line.hello(5) == {"cpus": 2}


def test_an_agent_of_another_version_is_no_agent(end: End) -> None:
    end.say(Event.HELLO, protocol=VERSION + 1, facts={})
    with pytest.raises(BackendLost, match=f"protocol {VERSION + 1}, not {VERSION}"):
        end.line.hello(5)


@pytest.mark.parametrize("facts", [None, [], 7, "x"])
def test_a_hello_without_facts_makes_no_sense(end: End, facts: object) -> None:
    end.say(Event.HELLO, protocol=VERSION, facts=facts)
    with pytest.raises(BackendLost, match="makes no sense: facts are no object"):
        end.line.hello(5)


def test_a_file_is_no_hello(end: End) -> None:
    end.send("result.json", b"{}")
    with pytest.raises(BackendLost, match="makes no sense"):
        end.line.hello(5)


def test_files_and_ticks_come_and_done_ends_it(end: End) -> None:
    end.say(Event.TICK, text="1 s")
    end.send("samples.csv", b"timestamp\n0\n")
    end.say(Event.DONE, missing=[])
    end.say(Event.HELLO)
    ticks: list[str] = []
    answer = end.line.ask("/x/job.json", PATIENCE, tick=ticks.append)
    assert ticks == ["1 s"]
    assert answer.files == {"samples.csv": b"timestamp\n0\n"}
    assert answer.done["missing"] == []
    assert end.jobs.readline() == b"run /x/job.json\n"


def test_silence_has_an_end(end: End) -> None:
    with pytest.raises(BackendLost, match="the agent went silent: agent got SIGKILL"):
        end.line.ask("/x", Patience(0.05, 20))


def test_ticks_for_ever_have_an_end(end: End) -> None:
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.01):
            end.say(Event.TICK, text="0 s")

    ticker = threading.Thread(target=tick)
    ticker.start()
    began = time.monotonic()
    try:
        with pytest.raises(BackendLost, match=r"the agent (took longer than|went si)"):
            end.line.ask("/x", Patience(5, 0.3))
    finally:
        stop.set()
        ticker.join()
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("piece", [b"x" * 4096, b"scxlab/2 samples.csv " + b"1" * 200])
def test_a_flood_has_an_end_as_soon_as_it_makes_no_sense(
    end: End, piece: bytes
) -> None:
    end.events.write(piece)
    with pytest.raises(BackendLost, match="makes no sense: no header"):
        end.line.ask("/x", PATIENCE)


def test_a_file_comes_once(end: End) -> None:
    for _ in range(2):
        end.send("dmesg.log", b"x")
    with pytest.raises(BackendLost, match=r"dmesg.log came twice"):
        end.line.ask("/x", PATIENCE)


@pytest.mark.parametrize("event", ["hello", "reboot", ""])
def test_an_event_that_there_is_not_makes_no_sense(end: End, event: str) -> None:
    end.send("event", b'{"event": "%s"}' % event.encode())
    with pytest.raises(BackendLost, match="makes no sense"):
        end.line.ask("/x", PATIENCE)


def test_what_a_tick_says_is_text_for_a_line(end: End) -> None:
    end.say(Event.TICK, text="[/x] \x1b[2J\n" + "y" * 1000)
    end.say(Event.TICK, text=7)
    ticks: list[str] = []
    with pytest.raises(BackendLost, match="text is no text"):
        end.line.ask("/x", PATIENCE, tick=ticks.append)
    (text,) = ticks
    assert len(text) <= 200 and "\x1b" not in text and "\n" not in text


def test_a_dead_agent_is_told_in_its_last_words(end: End) -> None:
    end.events.write(b"scxlab/2 eve")
    end.events.close()
    with pytest.raises(BackendLost, match="the agent died: agent got SIGKILL"):
        end.line.hello(5)
    end.jobs.close()
    with pytest.raises(BackendLost, match="died"):
        end.line.ask("/x", PATIENCE)


def test_without_what_it_needs_the_line_is_dead_at_once() -> None:
    """Long before the silence would tell; what was said before is still heard."""
    pid = os.fork()
    if pid == 0:
        os.read(os.pipe()[0], 1)  # until it is killed
        os._exit(0)
    end = End(needed=pid)
    end.say(Event.HELLO, protocol=VERSION, facts={})
    assert end.line.hello(5) == {}
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(
        HelperLost, match="lost its file server, which ended: file server got"
    ):
        end.line.ask("/x", Patience(60, 60))
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
        end.line.hello(60)
    os.waitpid(pid, 0)
    end.close()


def test_a_crash_is_no_silence(end: End) -> None:
    end.say(Event.CRASHED, text="ZeroDivisionError")
    with pytest.raises(BackendLost, match="ZeroDivisionError"):
        end.line.ask("/x", PATIENCE)
