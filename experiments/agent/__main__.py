# SPDX-License-Identifier: GPL-2.0-only
"""`python3 -m experiments.agent PORT [DIRECTORY]`: serve jobs over a line.

PORT is the name of a virtio port, or `-`; the agent's own files go to DIRECTORY.
"""

from __future__ import annotations

import sys

from experiments.agent.serve import serve

if __name__ == "__main__":
    serve(*sys.argv[1:])
