# SPDX-License-Identifier: GPL-2.0-only
"""One run on the kernel under test, and the line to whoever asked for it.

Others use: client, protocol, run_job, sample_clock, serve, staging, workload_driver.
"""
