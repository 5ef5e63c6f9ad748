# SPDX-License-Identifier: GPL-2.0-only
"""What is no subject of ours: processes, files, locks, the console.

Others use: console, failpoints, files, locks, proc, quantiles, tempdirs, timespan,
userns.
"""
