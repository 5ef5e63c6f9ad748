# SPDX-License-Identifier: GPL-2.0-only
"""In place of the agent: becomes driver.py, under the Python these tests run under."""

import os
import sys

SHARE = "/lab/share"
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/tmp",
    "XDG_CACHE_HOME": f"{SHARE}/cache",
    "LD_LIBRARY_PATH": f"{SHARE}/python/lib",
    "LC_ALL": "C.UTF-8",
}
PYTHON = f"{SHARE}/venv/bin/python"

os.chdir(f"{SHARE}/checkout")
os.execve(PYTHON, [PYTHON, "-B", f"{SHARE}/driver.py", sys.argv[1]], ENV)
