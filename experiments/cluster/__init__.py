# SPDX-License-Identifier: GPL-2.0-only
"""The same on the hosts of a Dask cluster.

Others use: coordinator, dask_client, worker.
"""
