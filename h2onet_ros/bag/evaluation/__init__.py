"""Offline evaluation of a recording: the node's pipeline over every image, figures, tables, a report.

`run.evaluate(bag, out, settings)` does it; `settings` holds what goes in and what comes out.
"""
