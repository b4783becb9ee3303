"""Skips tests of the renderer where there is no OpenGL, and only there."""

import pytest


def skip_without_opengl(error: Exception | str) -> None:
    """Skip if that is what the renderer says; another error stays one."""
    if "No off-screen OpenGL" in str(error):
        pytest.skip(str(error))
    raise error if isinstance(error, Exception) else AssertionError(error)
