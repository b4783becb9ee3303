"""Timings side by side: `make bench`, or `python -m benchmark --help`."""
