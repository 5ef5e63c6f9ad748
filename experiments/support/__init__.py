# SPDX-License-Identifier: GPL-2.0-only
"""General helpers: processes, files, locks, the console.

Others use: console, failpoints, files, locks, proc, quantiles, tempdirs, timespan,
userns.
"""
