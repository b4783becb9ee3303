"""The one error that reading and writing recordings raises."""


class BagError(Exception):
    """A recording that cannot be read or written; the text says what was expected, what came, what to do."""


class DiskFullError(BagError):
    """No room is left where a recording is written; what was written before stays readable."""
