# SPDX-License-Identifier: GPL-2.0-only
"""`python3 -m experiments.agent DEVICE`: serve jobs over a line."""

from __future__ import annotations

import sys

from experiments.agent.serve import serve

if __name__ == "__main__":
    serve(sys.argv[1])
