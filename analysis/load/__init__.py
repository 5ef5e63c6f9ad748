# SPDX-License-Identifier: GPL-2.0-only
"""From the files of an experiment to tables."""
