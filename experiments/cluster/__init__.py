# SPDX-License-Identifier: GPL-2.0-only
"""Do the blocks of an experiment on the hosts of a Dask cluster.

Others use: coordinator, dask_client, worker.
"""
