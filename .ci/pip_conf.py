# SPDX-License-Identifier: GPL-2.0-only
"""Print how pip reaches its packages on this machine, as one pip.conf.

Its files and its environment variables (PIP_INDEX_URL and the like) taken together, in
pip's order. A proxy that the environment names for all programs is one for pip, too.
Directories of packages are left out: there are none on a bare machine.
"""

import configparser
import os
import sys
from pathlib import Path

HOME = Path.home()
FILES = ("/etc/pip.conf", HOME / ".pip/pip.conf", HOME / ".config/pip/pip.conf")
PLACES = ("index-url", "extra-index-url", "find-links")


def main() -> None:
    settings = configparser.RawConfigParser()
    settings.read([*FILES, os.environ.get("PIP_CONFIG_FILE", os.devnull)])
    if not settings.has_section("global"):
        settings.add_section("global")
    if proxy := os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"):
        settings.set("global", "proxy", proxy)
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            key = name.removeprefix("PIP_").lower().replace("_", "-")
            settings.set("global", key, value)
    for key in PLACES:
        words = settings.get("global", key, fallback="").split()
        settings.remove_option("global", key)
        if remote := [w for w in words if not w.startswith(("/", "file:"))]:
            settings.set("global", key, " ".join(remote))
    settings.write(sys.stdout)


if __name__ == "__main__":
    main()
