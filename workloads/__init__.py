# SPDX-License-Identifier: GPL-2.0-only
"""The workloads, one module each; every one exposes WORKLOAD."""
