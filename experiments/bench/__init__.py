# SPDX-License-Identifier: GPL-2.0-only
"""What can be measured of the project itself.

Others use: aggregate, crash, harness, sampling.
"""
