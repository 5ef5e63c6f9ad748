# SPDX-License-Identifier: GPL-2.0-only
"""In place of the agent: becomes driver.py, under the Python these tests run under."""

import os
import shutil
import sys

SHARE, HOME = "/lab/share", "/run/home"
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/tmp",
    "XDG_CACHE_HOME": f"{HOME}/cache",
    "LD_LIBRARY_PATH": f"{SHARE}/python/lib",
    "LC_ALL": "C.UTF-8",
}
PYTHON = f"{SHARE}/venv/bin/python"

for name in ("checkout", "cache"):
    shutil.copytree(f"{SHARE}/{name}", f"{HOME}/{name}", symlinks=True)
os.chmod(HOME, 0o700)  # noqa: PTH101 - as homes are: a workload has no way in
os.mkdir(f"{HOME}/checkout/results")  # noqa: PTH102 - pathlib takes a second
os.chdir(f"{HOME}/checkout")
os.execve(PYTHON, [PYTHON, "-B", f"{SHARE}/driver.py", sys.argv[1]], ENV)
