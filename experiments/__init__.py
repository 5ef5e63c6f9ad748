# SPDX-License-Identifier: GPL-2.0-only
"""Controlled experiments on Linux schedulers.

A folder is a room. A run passes them in this order:

    commands > plan > labroot > build > run > backends > vm > agent > store

In `run`, blocks are done by lanes of this machine or by the hosts of a `cluster`; the
`agent` has `loaders`, `samplers` and `kernel` beside it. Off the way stand `machine`,
`doctor`, `bench` and `support`. docs/architecture.md draws it.
"""

__version__ = "0.1.0"
