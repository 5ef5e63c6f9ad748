# SPDX-License-Identifier: GPL-2.0-only
"""General helpers: processes, files, locks, the console.

Others use: capped_log, console, failpoints, files, locks, printable, proc, quantiles,
tempdirs, timespan, userns.
"""
