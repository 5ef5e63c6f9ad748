# SPDX-License-Identifier: GPL-2.0-only
"""Tables, figures, and the report that has them all.

Others use: between_table, figures, html, junit, sketch, tables.
"""
