# SPDX-License-Identifier: GPL-2.0-only
"""A user at a guest that is their machine: starts experiments, looks, kills.

Lines of JSON come in, and go out as events, directories as tar files. Every command is
a fork of this process, which has imported everything already: under an emulator that
takes longest.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path.cwd()))

from experiments.agent import frames
from experiments.agent.protocol import VERSION, Event, event_payload
from experiments.agent.serve import open_port
from experiments.commands import system
from experiments.errors import ExperimentError
from experiments.kernel import sched_ext
from experiments.labroot import cell, host_toolchain, kernel_image
from experiments.labroot.cell import Bind
from experiments.machine import consent
from experiments.plan.config import load_config
from experiments.run.runner import run_experiment

BINDS = [Bind(Path.cwd(), "/lab/src")]


def interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def run_(name: str, yes: bool, flags: dict[str, Any]) -> None:
    """As commands.run, which also imports the analysis."""
    settings = load_config(backend="host", **flags)
    if yes:
        consent.obtain(yes)
    done = run_experiment(settings, name)
    print(f"outcomes: {done.manifest().outcomes}")


COMMANDS: dict[str, Callable[..., None]] = {"run": run_, "system": system.act}


def become(command: str, arguments: list[Any], output: Path) -> NoReturn:
    """The command, in this forked process; ends with its exit code."""
    os.setsid()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((null, 0), (fd, 1), (fd, 2)):
        os.dup2(old, new)
    code = 1
    try:
        COMMANDS[command](*arguments)
        code = 0
    except ExperimentError as error:
        print(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(output: str, command: str, *arguments: Any) -> int:
    return os.fork() or become(command, list(arguments), Path(output))


def kernel() -> list[str]:
    """What objects for this machine are built for."""
    running = kernel_image.running(host_toolchain.open_tools())
    return [running.version, running.sha256]


def own_tools() -> str:
    """What bpftool of the machine says of itself in the place of a lab root."""
    own = host_toolchain._own()
    seen = cell.run_inside(own.path, ["ls", "/lab/src"], timeout_s=30, binds=BINDS)
    return own.packages["bpftool"] + seen.stdout


def until_in_charge(ops: str) -> str:
    """Wait until this scheduler is, or none if there is no name; who it is."""
    deadline = time.monotonic() + 240
    while sched_ext.status().ops != ops and time.monotonic() < deadline:
        time.sleep(0.02)
    return sched_ext.status().ops


def wait(pid: int) -> int:
    """Its exit status; negative when it was killed by that signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def shell(script: str) -> str:
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=240
    )
    return done.stdout + done.stderr


def kill(pid: int, number: int) -> None:
    os.kill(pid, number)


def fetch(folder: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, Path(folder).name)
    return packed.getvalue()


def setenv(values: dict[str, str]) -> None:
    """Have commands that are started from now on see these variables."""
    os.environ.update(values)


_ACTIONS = (
    *(start, wait, shell, kill, setenv, kernel, own_tools, until_in_charge, fetch),
)
ACTIONS = {f.__name__: f for f in _ACTIONS}


def main(port: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    load_config()  # imports every workload and sampler
    lines, out = open_port(port)

    def say(event: Event, **values: Any) -> None:
        frames.send(out, frames.EVENT, event_payload(event, **values))

    say(Event.HELLO, protocol=VERSION, facts={})
    while line := lines.readline():
        asked = json.loads(line.partition(b" ")[2])
        try:
            value = ACTIONS[asked["do"]](*asked["with"])
            if isinstance(value, bytes):
                frames.send(out, "workload.log", value)
                value = None
            say(Event.DONE, value=value)
        except Exception:
            say(Event.CRASHED, text=traceback.format_exc())


main(sys.argv[1])
