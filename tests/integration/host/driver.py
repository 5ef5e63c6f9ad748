# SPDX-License-Identifier: GPL-2.0-only
"""A user at a guest that is their machine: starts experiments, looks, kills.

Lines of JSON come in, and go out as events. Every command is a fork of this process,
which has imported everything already: under an emulator that takes longest.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path.cwd()))

from experiments.agent.protocol import VERSION
from experiments.commands import system
from experiments.errors import ExperimentError
from experiments.kernel import sched_ext
from experiments.labroot import host_toolchain, kernel_image, lab_root
from experiments.machine import consent
from experiments.plan.config import load_config
from experiments.run.runner import run_experiment

BINDS = {"/lab/src": Path.cwd()}


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
    seen = lab_root.run_inside(own.path, ["ls", "/lab/src"], timeout_s=30, binds=BINDS)
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


def setenv(values: dict[str, str]) -> None:
    """Have commands that are started from now on see these variables."""
    os.environ.update(values)


_ACTIONS = (start, wait, shell, kill, setenv, kernel, own_tools, until_in_charge)
ACTIONS = {f.__name__: f for f in _ACTIONS}


def main(device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    load_config()  # imports every workload and sampler
    with Path(device).open("r+b", buffering=0) as stream:
        tty.setraw(stream.fileno())

        def say(**event: Any) -> None:
            stream.write(json.dumps(event).encode() + b"\n")

        say(event="hello", protocol=VERSION, facts={})
        lines = os.fdopen(os.dup(stream.fileno()), "rb")
        while line := lines.readline():
            asked = json.loads(line.partition(b" ")[2])
            try:
                value = ACTIONS[asked["do"]](*asked["with"])
                say(event="done", value=value)
            except Exception:
                say(event="crashed", text=traceback.format_exc())


main(sys.argv[1])
