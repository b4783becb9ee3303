"""The one error that reading and writing recordings raises."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the system's errors that mean a full disk: none left, none for this user, none for this file."""


class BagError(Exception):
    """A recording that cannot be read or written; the text says what was expected, what came, what to do."""


class DiskFullError(BagError):
    """No room is left where a recording is written; what was written before stays readable."""
