"""Units of the integers that recordings are full of."""

SECOND = 1_000_000_000
"""Nanoseconds."""
