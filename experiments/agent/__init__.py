# SPDX-License-Identifier: GPL-2.0-only
"""Serve jobs on the kernel under test; both ends of the line that they come over.

Others use: client, frames, handing, protocol, run_job, sample_clock, serve, staging.
"""
